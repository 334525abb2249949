package bench

import (
	"fmt"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// simArgs is the shortest program of sim that returns a value.
type simArgs struct {
	Steps [1]simReturn `json:"steps"`
}

type simReturn struct {
	Return addArgs `json:"return"`
}

// The types of cmd/worker, as a caller defines them.
var (
	echoed    = jobs.Define[addArgs, addArgs]("echo")
	simulated = jobs.Define[simArgs, addArgs]("sim")
)

// echoGather gathers members that return their arguments as they are.
func echoGather(members int) side {
	return same("echo", members, echoed, func(a addArgs) addArgs { return a })
}

// simGather gathers members whose program is to return the same.
func simGather(members int) side {
	return same("sim", members, simulated, func(a addArgs) simArgs { return simArgs{Steps: [1]simReturn{{Return: a}}} })
}

func same[A any](name string, members int, def jobs.Definition[A, addArgs], wrap func(addArgs) A) side {
	return side{name: name, n: members, run: func(r *round) error {
		if err := r.window.open(r.ctx); err != nil {
			return err
		}
		args := make([]A, members)
		for i := range args {
			args[i] = wrap(argsOf(i))
		}
		back, err := gatherAll(r, def, args)
		if err != nil {
			return err
		}
		if err := r.window.shut(r.ctx); err != nil {
			return err
		}
		for i, got := range back {
			if got != argsOf(i) {
				return fmt.Errorf("member %d: result %+v, want %+v", i, got, argsOf(i))
			}
		}
		return nil
	}}
}
