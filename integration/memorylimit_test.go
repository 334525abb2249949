package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/await"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// A task takes memory until the kernel kills its worker, whichever runs it: what else these workers had in hand runs again elsewhere and has its
// values, nothing charged, and the glutton ends as crash_loop after three of them.
func TestDecision05_AWorkerIsKilledForItsMemory(t *testing.T) {
	t.Parallel()
	const limit, naps = 64 << 20, 6
	program := filepath.Join(t.TempDir(), "glutton")
	cmd := exec.Command("go", "build", "-o", program, "github.com/gatherq/gatherq/integration/glutton")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // it runs in an image of another system
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := redistest.Local(t)
	rdb, c := s.Client(t), client(t, s, jobs.ClientConfig{})
	confined := redistest.StartConfined(t, program, limit, s.URL)
	nap := jobs.Define[int, int]("nap")
	var list []*jobs.Task[int]
	for i := range naps {
		task, err := jobs.CreateTask(t.Context(), c, nap.Call(i))
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, task)
	}
	eventually(t, "naps that have begun", func() bool { return simKey(t, rdb, "nap") == naps })
	survivor, err := jobs.NewWorker(client(t, s, jobs.ClientConfig{}), jobs.WorkerConfig{Concurrency: naps})
	if err != nil {
		t.Fatal(err)
	}
	jobs.Handle(survivor, nap, func(_ context.Context, n int) (int, error) { return n, nil })
	serve(t, survivor)
	glutton, err := jobs.CreateTask(t.Context(), c, jobs.Define[int, int]("eat").Call(0, jobs.Queue("table")))
	if err != nil {
		t.Fatal(err)
	}

	deaths := 0
	for !inspect(t, glutton).State.Final() {
		within(t, 3*patience, "worker that has ended", func() bool { // beside other tests its memory fills slowly, in a container that starts slowly
			ended, _ := confined.Ended(t)
			return ended || inspect(t, glutton).State.Final()
		})
		if ended, killed := confined.Ended(t); ended {
			if !killed {
				t.Fatal("a worker ended by itself")
			}
			deaths++
			confined = redistest.StartConfined(t, program, limit, s.URL)
		}
	}
	out, err := await.Outcome(t.Context(), glutton)
	if err != nil || out.State != jobs.StateCrashLoop || out.Attempt != 1 {
		t.Errorf("the glutton: %+v, %v", out, err)
	}
	if n := simKey(t, rdb, "eat"); n != 3 || deaths != 3 {
		t.Errorf("the glutton ran %d times in %d deaths, want 3", n, deaths)
	}
	for i, task := range list {
		out, err := await.Outcome(t.Context(), task)
		if err != nil || out.Value != i || out.Attempt != 1 || out.Delivery < 2 {
			t.Errorf("nap %d: %+v, %v", i, out, err)
		}
	}
	healthy(t, s)
}
