// Package await blocks until tasks have ended. Every function here blocks, and nothing outside this package does.
//
// # What an await returns
//
// A value, a typed error of package jobs, or ErrGaveUp, when the caller's context ended first. It needs no time-out to be safe:
// a task that nobody knows is jobs.ErrUnknown at once, one whose result is over jobs.ErrExpired, one whose record has
// vanished jobs.ErrLost, and where Redis does not answer for ClientConfig.Patience the await ends with
// jobs.ErrUnavailable. With neither a deadline of the task nor of the context it lasts as long as the task is truly queued;
// jobs.Inspect says why.
//
//	thumb, err := await.Result(ctx, task)
//	switch {
//	case err == nil:
//	case errors.Is(err, await.ErrGaveUp): // the caller's own deadline; the task goes on
//	case errors.Is(err, jobs.ErrCancelled):
//	case errors.Is(err, jobs.ErrTimedOut): // the task's time-out; also context.DeadlineExceeded, so ask for ErrGaveUp first
//	default:
//		if e, ok := errors.AsType[*jobs.Error](err); ok {
//			log.Print(e.ID, e.Kind, e.Message, e.Attempt)
//		}
//	}
//
// # What an await does not do
//
// It never touches the work: the end of its context stops the waiting only, as asyncio's shield does. It consumes nothing:
// any number of processes may await the same ID any number of times, before and after its end, until its retention is over.
// It holds no connection of its own: all awaits of a client share one subscription and one check every two seconds, so
// ten thousand of them cost what one costs. Every function returns within 50 ms of its context's end.
//
// # Which one
//
//	Result     one task: its value or its error
//	Outcome    one task: how it ended, failures included
//	All        a group or a set: all values in call order, or the first error in time, as asyncio.gather
//	Into       All of members of different types, each to its own variable
//	Settled    a group or a set: how each ended, as asyncio.gather(return_exceptions=True)
//	AsCompleted  each member as it ends
//	InOrder      each member in call order, in bounded memory: for a million of them
//
// A set is a group, or handles that Of or Mixed put together.
package await
