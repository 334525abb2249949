package integration

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
)

// edit changes one place of a file of asynq's.
type edit struct{ file, from, to string }

// otherAsynqs are asynqs as an update might bring them: each breaks several things that the carrier relies on.
var otherAsynqs = []struct {
	name  string
	edits []edit
	fails []string // what the contract's tests say
	says  string   // what the carrier then says of itself
}{
	{
		"a dequeue with a fifth key, an enqueue of more than one script, longer leases",
		[]edit{
			{
				"internal/rdb/rdb.go", "			base.LeaseKey(qname),\n		}\n		leaseExpirationTime",
				"			base.LeaseKey(qname),\n			base.PendingKey(qname),\n		}\n		leaseExpirationTime",
			},
			{
				"internal/rdb/rdb.go", "	n, err := r.runScriptWithErrorCode(ctx, op, enqueueCmd, keys, argv...)",
				"	if err := r.client.Set(ctx, \"asynq:last\", msg.ID, time.Minute).Err(); err != nil {\n		return err\n	}\n	n, err := r.runScriptWithErrorCode(ctx, op, enqueueCmd, keys, argv...)",
			},
			{"internal/rdb/rdb.go", "LeaseDuration = 30 * time.Second", "LeaseDuration = 90 * time.Second"},
		},
		[]string{"TestContractAsynqServerDequeue", "TestContractAsynqClientEnqueuesByOneScript", "TestContractAsynqLayout"},
		"dequeue recognised: false, client known: false",
	},
	{
		"the ID in another field of the message, one context for all messages",
		[]edit{
			{"internal/base/base.go", "		Id:           msg.ID,\n		Queue:        msg.Queue,", "		Id:           msg.Queue,\n		Queue:        msg.ID,"},
			{"internal/base/base.go", "		ID:           pbmsg.GetId(),\n		Queue:        pbmsg.GetQueue(),", "		ID:           pbmsg.GetQueue(),\n		Queue:        pbmsg.GetId(),"},
			{"processor.go", "	return &processor{\n", "	one := params.baseCtxFn()\n	params.baseCtxFn = func() context.Context { return one }\n	return &processor{\n"},
		},
		[]string{"TestContractAsynqClientEnqueuesByOneScript"},
		"dequeue recognised: true, client known: true",
	},
}

// An update of asynq that changes what the carrier relies on fails the contract's tests, and tasks still run: the worker polls, the
// client sends in more round trips.
func TestDecision41_AnotherAsynqFailsTheContractAndWorks(t *testing.T) {
	t.Parallel()
	redistest.Local(t) // the tests that are built here need one
	for _, other := range otherAsynqs {
		t.Run(other.name, func(t *testing.T) {
			tests := filepath.Join(t.TempDir(), "carrier.test")
			goTool(t, "test", "-modfile", withAsynq(t, other.edits), "-c", "-o", tests, "./internal/carrier")
			run := func(name string) (string, error) {
				cmd := exec.CommandContext(t.Context(), tests, "-test.v", "-test.timeout", "5m", "-test.run", name)
				cmd.Dir = filepath.Join("..", "internal", "carrier")
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			out, err := run("^TestContract")
			for _, name := range other.fails {
				if err == nil || !strings.Contains(out, "--- FAIL: "+name+" ") {
					t.Errorf("%s does not fail (%v):\n%s", name, err, clip(out, 4000))
				}
			}
			out, err = run("^TestAnyAsynqCarries$")
			if err != nil || !strings.Contains(out, other.says) {
				t.Errorf("what is enqueued is not handled, or not so that %q (%v):\n%s", other.says, err, clip(out, 4000))
			}
		})
	}
}

// The programs with an asynq whose dequeue is not recognised, where only the worker was updated: it polls.
func TestAWorkerWithAnotherAsynqPolls(t *testing.T) {
	t.Parallel()
	s := redistest.Any(t)
	program := filepath.Join(t.TempDir(), "worker")
	goTool(t, "build", "-modfile", withAsynq(t, otherAsynqs[0].edits), "-o", program, "./cmd/worker")
	cmd := exec.CommandContext(t.Context(), program, "--redis", s.URL, "--admin", "off", "--allow-sim")
	var stderr lockedBuffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Log(stderr.String())
		}
	})
	for i := range 3 {
		if got, want := produce(t, s, 0, "create", "echo", fmt.Sprint(i), "--await"), fmt.Sprint(i); got != want {
			t.Errorf("%s came back as %s", want, got)
		}
	}
	if got := produceFrom(t, s, 0, "1\n2\n3", "gather", "echo", "-", "--await"); got != "1\n2\n3" {
		t.Errorf("the gather gave %q", got)
	}
	if n := s.Client(t).Exists(t.Context(), "gq:{gatherq}:parked:default").Val(); n != 0 {
		t.Error("it parks: its dequeue was recognised")
	}
}

// withAsynq copies asynq out of the module cache, changes it, and returns a go.mod that has the copy in asynq's place.
func withAsynq(t *testing.T, edits []edit) (modfile string) {
	t.Helper()
	from := strings.TrimSpace(goTool(t, "list", "-m", "-f", "{{.Dir}}", "github.com/hibiken/asynq"))
	dir := t.TempDir()
	to := filepath.Join(dir, "asynq")
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			if rel == "docs" || rel == "tools" || rel == "x" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		case strings.HasSuffix(rel, "_test.go"):
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edits {
		path := filepath.Join(to, e.file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), e.from); n != 1 {
			t.Fatalf("%s has changed: it contains %d times, not once:\n%s", e.file, n, e.from)
		}
		if err := os.WriteFile(path, []byte(strings.Replace(string(text), e.from, e.to, 1)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	modfile = filepath.Join(dir, "go.mod")
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join("..", name))
		if err != nil {
			t.Fatal(err)
		}
		if name == "go.mod" {
			text = append(text, "\nreplace github.com/hibiken/asynq => "+to+"\n"...)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return modfile
}

// goTool runs the go command in the module, without the network, and returns its output.
func goTool(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=mod")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %q: %v\n%s", args, err, &stderr)
	}
	return string(out)
}
