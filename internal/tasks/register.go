package tasks

import (
	"errors"
	"os"

	"github.com/redis/go-redis/v9"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// Config says which task types a worker offers, and what they may do. The zero value offers echo and sleep.
type Config struct {
	// FileRoot is the directory below which file may read. Empty: no file.
	FileRoot string

	// AllowExec are the templates that exec may run, each "name=/path --flag {in} {out}", see ParseTemplate. None: no exec.
	AllowExec []string

	// AllowExecArgs lets a task append arguments of its own to a template.
	AllowExecArgs bool

	// AllowHTTP are the URL prefixes below which http may ask, see ParsePrefix. None: no http.
	AllowHTTP []string

	// AllowSim offers sim, whose programs may burn cores and end the process.
	AllowSim bool

	// Redis is where sim counts; needed with AllowSim.
	Redis redis.UniversalClient

	// Exit is what sim's step exit calls. Defaults to os.Exit.
	Exit func(code int)
}

// Register offers the task types that cfg switches on to w, before its Run, and returns their names. The error is about cfg:
// it names the flag of cmd/worker, and nothing has been registered.
func Register(w *jobs.Worker, cfg Config) (types []string, err error) {
	var file *fileReader
	if cfg.FileRoot != "" {
		if file, err = newFileReader(cfg.FileRoot); err != nil {
			return nil, err
		}
	}
	var run *runner
	if len(cfg.AllowExec) > 0 {
		if run, err = newRunner(cfg.AllowExec, cfg.AllowExecArgs); err != nil {
			return nil, err
		}
	} else if cfg.AllowExecArgs {
		return nil, errors.New("--allow-exec-args: goes with --allow-exec alone")
	}
	var asker *requester
	if len(cfg.AllowHTTP) > 0 {
		if asker, err = newRequester(cfg.AllowHTTP); err != nil {
			return nil, err
		}
	}
	if cfg.AllowSim && cfg.Redis == nil {
		return nil, errors.New("--allow-sim: needs a client of Redis")
	}

	jobs.Handle(w, Echo, echo)
	jobs.Handle(w, Sleep, sleep)
	types = []string{Echo.Name(), Sleep.Name()}
	if file != nil {
		jobs.Handle(w, File, file.handle)
		types = append(types, File.Name())
	}
	if run != nil {
		jobs.Handle(w, Exec, run.handle)
		types = append(types, Exec.Name())
	}
	if asker != nil {
		jobs.Handle(w, HTTP, asker.handle)
		types = append(types, HTTP.Name())
	}
	if cfg.AllowSim {
		exit := cfg.Exit
		if exit == nil {
			exit = os.Exit
		}
		sim := &simulator{counters: redisCounters{cfg.Redis}, exit: exit, current: jobs.Current}
		jobs.Handle(w, simProgram, sim.run)
		types = append(types, Sim.Name())
	}
	return types, nil
}
