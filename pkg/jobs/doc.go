// Package jobs creates tasks on a fleet and runs them: asyncio's create_task and gather over Redis.
//
// A [Definition] names a task type once, for both sides. A [Call] is what a coroutine is before it is awaited. [CreateTask]
// and [Gather] make it durable and return a handle; package await turns handles into results.
//
//	var Resize = jobs.Define[Image, Thumbnail]("image.resize", jobs.Retries(3), jobs.Timeout(30*time.Second))
//
//	c, err := jobs.NewClient(rdb, jobs.ClientConfig{})
//	task, err := jobs.CreateTask(ctx, c, Resize.Call(image))
//	thumb, err := await.Result(ctx, task)
//
// The other side, in any number of processes:
//
//	w, err := jobs.NewWorker(c, jobs.WorkerConfig{Concurrency: 64})
//	jobs.Handle(w, Resize, resize)
//	err = w.Run(ctx)
//
// # Settings
//
// Settings of a process (client, worker) are config structs whose zero value works. Settings of a task are options:
// there an explicit zero (Retries(0)) and "not said" differ.
//
// # Contexts
//
// Every call returns within 50 ms of its context's end, also while Redis accepts connections and never answers.
//
// # Errors
//
// What is wrong with the input is a [*RejectedError] that names the field and its limit; nothing was stored then. How a task
// ended when not with a value, what became of an ID, and what Redis left open is an [*Error]. Sentinels are the constants of
// [ErrorKind], so errors.Is and a switch on the Kind use the same names:
//
//	e, _ := errors.AsType[*jobs.Error](err)
//	switch {
//	case errors.Is(err, ErrNoImage):         // the handler's own, a jobs.ErrorCode
//	case errors.Is(err, jobs.ErrFailed):     // e.Message, e.Attempt
//	case errors.Is(err, jobs.ErrCancelled):  // e.Message is the reason
//	case errors.Is(err, await.ErrGaveUp):    // the caller's own context; the work goes on
//	case errors.Is(err, jobs.ErrTimedOut):   // the task's; context.DeadlineExceeded as well
//	}
//
// Every error of a creation but [ErrIndeterminate] means that nothing was stored.
//
// # At least once
//
// A handler may run more than once, say because its worker died; its outcome is recorded once. [Current] has the attempt and
// the delivery number, which grows with every hand-over to a worker: a fencing token for the handler's own writes.
package jobs
