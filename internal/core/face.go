package core

// Face is what package jobs lends to package await, which may not see its inside: how ends and failures look to users.
type Face interface {
	// Decode decodes the value of a task or group that has succeeded into target, a pointer. The error is a *jobs.Error.
	Decode(f *Fate, target any) error
	// Outcome fills target, a *jobs.Outcome of any type.
	Outcome(f *Fate, target any)
	// Failure returns the *jobs.Error of an end without a value, nil of a success.
	Failure(f *Fate) error
	// Trouble returns the *jobs.Error about an ID or about Redis: kind is a jobs.ErrorKind.
	Trouble(kind, id string, cause error) error
	// Refusal returns the *jobs.RejectedError about one field of the input.
	Refusal(field, why string) error
}

var face Face

// UseFace is called once, by package jobs' own initialisation.
func UseFace(f Face) { face = f }

// Decode decodes the end of a, which has succeeded.
func Decode[R any](a Awaitable[R], f *Fate) (R, error) { return a.decode(f) }

// Each decodes the end of one member of s, which has succeeded. It does not keep f.
func Each[R any](s Set[R], f *Fate, into *R) error { return s.each(f, into) }

// DecodeInto decodes an end that has succeeded into target, a pointer.
func DecodeInto(f *Fate, target any) error { return face.Decode(f, target) }

// FillOutcome fills target, a *jobs.Outcome.
func FillOutcome(f *Fate, target any) { face.Outcome(f, target) }

// Failure returns the *jobs.Error of an end without a value, nil of a success.
func Failure(f *Fate) error { return face.Failure(f) }

// Refusal returns the *jobs.RejectedError about one field of the input.
func Refusal(field, why string) error { return face.Refusal(field, why) }

func decodeAs[R any](f *Fate) (r R, err error) {
	err = face.Decode(f, &r)
	return r, err
}
