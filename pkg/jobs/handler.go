package jobs

import (
	"context"
	"errors"
	"slices"

	"github.com/gatherq/gatherq/internal/record"
	"github.com/gatherq/gatherq/internal/worker"
)

// Middleware wraps one delivery of a task to its handler. Current(ctx) says which; next decodes the arguments and runs the
// rest. A panic below returns from next as an error that is ErrPanicked, arguments that do not decode as one that is
// ErrBadArgs. What the outermost middleware returns is what counts.
type Middleware func(ctx context.Context, next func(context.Context) error) error

// handlerOf makes a handler of types what the executor runs. mws are in their order, the first is outermost.
func handlerOf[A, R any](c *Client, fn func(context.Context, A) (R, error), mws []Middleware) worker.Handler {
	if len(mws) == 0 {
		return func(ctx context.Context, j *worker.Job) worker.Result {
			own, value, err := handled(&current{Context: ctx, client: c, job: j}, fn, j)
			return encoded(value, own, err)
		}
	}
	return func(ctx context.Context, j *worker.Job) worker.Result {
		var value R
		var own *Error // of the last call of next: a failure that is the run's, not of a task that it awaited
		next := func(ctx context.Context) (err error) {
			own, value, err = handled(ctx, fn, j)
			return err
		}
		for _, mw := range slices.Backward(mws) {
			inner := next
			next = func(ctx context.Context) error { return mw(ctx, inner) }
		}
		err := next(&current{Context: ctx, client: c, job: j})
		return encoded(value, own, err)
	}
}

// handled decodes the arguments and calls the handler. own is err where that is a failure of the run itself.
func handled[A, R any](ctx context.Context, fn func(context.Context, A) (R, error), j *worker.Job) (own *Error, value R, err error) {
	normal := false
	defer func() {
		if normal {
			return
		}
		if v := recover(); v != nil { // nil: runtime.Goexit, which goes on
			own = ownError(j, worker.Panicked(v))
			err = own
		}
	}()
	var args A
	if err := decodeJSON(j.Args, &args); err != nil {
		own, normal = ownError(j, &record.Failure{Kind: string(ErrBadArgs), Message: err.Error()}), true
		return own, value, own
	}
	value, err = fn(ctx, args)
	normal = true
	return nil, value, err
}

// encoded is what the executor is told of a handler's return.
func encoded[R any](value R, own *Error, err error) worker.Result {
	if err != nil {
		return resultOf(err, own)
	}
	b, err := encodeJSON(value)
	if err != nil {
		return worker.Result{Permanent: true, Failure: &record.Failure{Kind: string(ErrFailed), Message: "the result does not encode: " + err.Error()}}
	}
	return worker.Result{Value: b}
}

func ownError(j *worker.Job, f *record.Failure) *Error {
	return &Error{
		Kind: ErrorKind(f.Kind), ID: j.ID, Type: j.Type, Group: j.Group, Index: j.Index, Attempt: j.Attempt,
		Delivery: int(j.Delivery), Started: true, Message: f.Message, Stack: f.Stack,
	}
}

// resultOf says what a handler's error means. own is the failure of the run itself, should err wrap it.
func resultOf(err error, own *Error) worker.Result {
	f := &record.Failure{Kind: string(ErrFailed), Message: err.Error()}
	for _, code := range codesOf(err) {
		f.Codes = append(f.Codes, worker.Clip(string(code)))
	}
	res := worker.Result{Failure: f, Canceled: errors.Is(err, context.Canceled), Permanent: permanent(err)}
	if d, ok := retryAfter(err); ok {
		res.After = &d
	}
	inner, _ := errors.AsType[*Error](err)
	switch {
	case own != nil && inner == own:
		f.Kind, f.Stack = string(own.Kind), own.Stack
		if err == error(own) { //nolint:errorlint // itself, not something that wraps it
			f.Message = own.Message
		}
		res.Permanent = res.Permanent || own.Kind == ErrBadArgs
	case errors.Is(err, ErrCancelled):
		f.Kind = string(ErrCancelled)
		if inner != nil && inner.Kind == ErrCancelled {
			f.Message = inner.Message // the reason, as its awaiters see it
		}
	}
	return res
}
