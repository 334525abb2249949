package worker

import "context"

// Trial runs a registered handler once, in the caller's goroutine, outside of any delivery: w is a *jobs.Worker, args what a
// call would be made with. It returns the encoded value, or the error as an awaiter would see it.
type Trial func(ctx context.Context, w any, args any, j Job) (value []byte, err error)

var trial Trial

// UseTrial is called once, by package jobs' own initialisation.
func UseTrial(t Trial) { trial = t }

// Try is for package jobstest, which may not see jobs' inside.
func Try(ctx context.Context, w any, args any, j Job) (value []byte, err error) {
	return trial(ctx, w, args, j)
}
