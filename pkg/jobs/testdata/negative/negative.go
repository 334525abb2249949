// Package negative holds what must not compile; each line that says so must be an error, and no other.
package negative

import (
	"context"

	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

type (
	thumb struct{}
	user  struct{}
)

var (
	resize  = jobs.Define[string, thumb]("resize")
	getUser = jobs.Define[int, user]("user")
	_       = jobs.Define[int, user]("x", jobs.ID("fixed"))                         // must not compile: an ID is of one call
	_       = jobs.Define[int, user]("x", jobs.Delay(1))                            // must not compile: so is a delay
	_       = jobs.Define[int, user]("x", jobs.OnConflict(jobs.ConflictReturn))     // must not compile: and a policy
	_       = getUser.Call("1")                                                     // must not compile: argument type
	_       = jobs.Define("x")                                                      // must not compile: types are not inferred from nothing
	_       = []jobs.Call[user]{resize.Call("a")}                                   // must not compile: another result type
	_       = jobs.Definition[int, user]{}.Call(1, jobs.GatherOption(jobs.ID("a"))) // must not compile: of a gather
)

type outsider struct{}

func (outsider) ID() string { return "" }

var (
	_ jobs.Ref          = outsider{} // must not compile: sealed
	_ jobs.Creator      = outsider{} // must not compile: sealed
	_ jobs.AnyMember    = outsider{} // must not compile: sealed
	_ jobs.Option       = outsider{} // must not compile: sealed
	_ jobs.GatherOption = outsider{} // must not compile: sealed
)

func f(ctx context.Context, c *jobs.Client, w *jobs.Worker) {
	task, _ := jobs.CreateTask(ctx, c, resize.Call("a"))
	group, _ := jobs.Gather(ctx, c, resize.Calls("a", "b"))
	var u user

	await.Result(ctx, resize.Call("a"))                                                       // must not compile: not created yet
	await.All(ctx, task)                                                                      // must not compile: not a set
	u, _ = await.Result(ctx, task)                                                            // must not compile: result type
	jobs.Gather(ctx, c, []jobs.Member[thumb]{getUser.Call(1)})                                // must not compile: another result type
	jobs.Gather(ctx, c, resize.Call("a"))                                                     // must not compile: not a slice
	jobs.CreateTask(ctx, c, resize)                                                           // must not compile: not a call
	jobs.CreateTask(ctx, c, task)                                                             // must not compile: created already
	jobs.Handle(w, resize, func(context.Context, int) (thumb, error) { return thumb{}, nil }) // must not compile: argument type
	jobs.Cancel(ctx, resize.Call("a"), "why")                                                 // must not compile: not created yet
	await.All(ctx, group.Settled())                                                           // must not compile: the view ends as one
	_, _ = u, group
}
