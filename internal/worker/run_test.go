package worker

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatherq/gatherq/internal/record"
)

type evil struct{}

func (evil) String() string { panic("twice") }

// What a handler's return means, without a cancel and in time.
func TestHandlerReturns(t *testing.T) {
	hour := time.Hour
	for _, c := range []struct {
		name    string
		handler Handler
		retries int
		attempt int
		want    string // what, state or kind
		message string
		delay   time.Duration
	}{
		{name: "value", handler: func(context.Context, *Job) Result { return Result{Value: []byte("2")} }, want: "settle succeeded"},
		{name: "error", handler: func(context.Context, *Job) Result { return failed("error", "no") }, want: "settle failed error", message: "no"},
		{name: "error, a retry left", handler: func(context.Context, *Job) Result { return failed("error", "no") }, retries: 1, want: "retry error", message: "no"},
		{name: "error, the retries used up", handler: func(context.Context, *Job) Result { return failed("error", "no") }, retries: 1, attempt: 2, want: "settle failed error"},
		{name: "permanent", handler: func(context.Context, *Job) Result {
			r := failed("error", "no")
			r.Permanent = true
			return r
		}, retries: 5, want: "settle failed error"},
		{name: "retry after", handler: func(context.Context, *Job) Result {
			r := failed("error", "later")
			r.After = &hour
			return r
		}, retries: 5, want: "retry error", delay: hour},
		{name: "context.Canceled without a cancel", handler: func(context.Context, *Job) Result {
			r := failed("error", "context canceled")
			r.Canceled = true
			return r
		}, want: "settle failed error"},
		{name: "cancelled by itself", handler: func(context.Context, *Job) Result { return failed("cancelled", "a child's") }, retries: 5, want: "settle cancelled cancelled", message: "a child's"},
		{name: "panic", handler: func(context.Context, *Job) Result { panic("boom") }, want: "settle failed panic", message: "boom"},
		{name: "panic with an error", handler: func(context.Context, *Job) Result { panic(errors.New("boom")) }, want: "settle failed panic", message: "boom"},
		{name: "panic with nil", handler: func(context.Context, *Job) Result { panic(nil) }, want: "settle failed panic", message: "panic called with nil argument"}, //nolint:govet // this is the case
		{name: "panic whose text panics", handler: func(context.Context, *Job) Result { panic(evil{}) }, want: "settle failed panic"},
		{name: "panic, a retry left", handler: func(context.Context, *Job) Result { panic("boom") }, retries: 1, want: "retry panic"},
		{name: "goexit", handler: func(context.Context, *Job) Result { runtime.Goexit(); return Result{} }, want: "settle failed goexit"},
		{name: "result over the limit", handler: func(context.Context, *Job) Result { return Result{Value: make([]byte, 101)} }, retries: 5, want: "settle failed result_too_large"},
		{name: "message over the limit", handler: func(context.Context, *Job) Result { return failed("error", strings.Repeat("ä", TextMax)) }, want: "settle failed error", message: strings.Repeat("ä", TextMax/2)},
		{name: "message that is no text", handler: func(context.Context, *Job) Result { return failed("error", "a\xffb") }, want: "settle failed error", message: "a\uFFFDb"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFleet{}
				w := newWorker(t, f, 1, map[string]Handler{"t": c.handler})
				deliver(t, w, f.task("a", func(cl *record.Claim) {
					cl.Options = record.Options{Retries: c.retries}.Encode()
					cl.Attempt = max(c.attempt, 1)
				}))
				synctest.Wait()
				if len(f.all()) != 1 {
					t.Fatalf("%d things were told, want 1: %+v", len(f.all()), f.all())
				}
				x := f.all()[0]
				got := x.what
				if x.what == "settle" {
					got += " " + string(x.out.State)
				}
				if x.failure != nil {
					got += " " + x.failure.Kind
				}
				if got != c.want {
					t.Errorf("told %q, want %q", got, c.want)
				}
				if c.message != "" && x.failure.Message != c.message {
					t.Errorf("message %q, want %q", x.failure.Message, c.message)
				}
				if strings.HasSuffix(c.want, "panic") && !strings.Contains(x.failure.Stack, "run_test.go") {
					t.Errorf("the stack does not say where:\n%s", x.failure.Stack)
				}
				if c.delay != 0 && x.delay != c.delay {
					t.Errorf("delay %s, want %s", x.delay, c.delay)
				}
				if got := w.cfg.Slots.Free(); got != 1 {
					t.Errorf("%d slots free in the end, want 1", got)
				}
			})
		})
	}
}

func TestDecision15_Timeout(t *testing.T) {
	second := time.Second
	for _, c := range []struct {
		name    string
		handler Handler
		retries int
		want    string
		after   time.Duration
		stuck   int
	}{
		{name: "returns its error", handler: untilDone, want: "settle timed_out timeout", after: second},
		{name: "returns its error, a retry left", handler: untilDone, retries: 1, want: "retry timeout", after: second},
		{name: "returns a value within the grace", handler: func(ctx context.Context, _ *Job) Result {
			<-ctx.Done()
			time.Sleep(second)
			return Result{Value: []byte("1")}
		}, want: "settle succeeded", after: 2 * second},
		{name: "does not return", handler: func(context.Context, *Job) Result {
			time.Sleep(time.Minute)
			return Result{Value: []byte("1")}
		}, want: "settle timed_out timeout", after: 6 * second, stuck: 1},
		{name: "does not return, a retry left", handler: func(context.Context, *Job) Result {
			time.Sleep(time.Minute)
			return Result{Value: []byte("1")}
		}, retries: 1, want: "retry timeout", after: 6 * second, stuck: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFleet{}
				var cause error
				w := newWorker(t, f, 1, map[string]Handler{"t": func(ctx context.Context, j *Job) Result {
					defer func() { cause = context.Cause(ctx) }()
					return c.handler(ctx, j)
				}})
				begin := time.Now()
				deliver(t, w, f.task("a", options(record.Options{Retries: c.retries, TimeoutMS: 1000, GraceMS: ms(5000)})))
				time.Sleep(30 * time.Second)
				synctest.Wait()
				if len(f.all()) != 1 {
					t.Fatalf("told %+v", f.all())
				}
				x := f.all()[0]
				got := x.what
				if x.what == "settle" {
					got += " " + string(x.out.State)
				}
				if x.failure != nil {
					got += " " + x.failure.Kind
				}
				if got != c.want || x.at.Sub(begin) != c.after {
					t.Errorf("told %q after %s, want %q after %s", got, x.at.Sub(begin), c.want, c.after)
				}
				if s := w.Stats(); s.Stuck != c.stuck || w.cfg.Slots.Free() != 1-c.stuck {
					t.Errorf("%d stuck and %d slots free, want %d and %d", s.Stuck, w.cfg.Slots.Free(), c.stuck, 1-c.stuck)
				}
				time.Sleep(time.Minute)
				synctest.Wait()
				if !errors.Is(cause, errTimedOut) {
					t.Errorf("the context ended with %v", cause)
				}
				if len(f.all()) != 1 || w.Stats().Stuck != 0 || w.cfg.Slots.Free() != 1 {
					t.Errorf("after the handler's return: told %d, stuck %d, free %d", len(f.all()), w.Stats().Stuck, w.cfg.Slots.Free())
				}
			})
		})
	}
}

func TestDecision11_Cancel(t *testing.T) {
	second := time.Second
	reason := &record.Failure{Kind: "cancelled", Message: "enough"}
	for _, c := range []struct {
		name    string
		handler Handler
		early   bool
		want    string
		message string
		after   time.Duration
	}{
		{name: "before it starts", early: true, handler: untilDone, want: "cancelled cancelled", message: "enough", after: 0},
		{name: "returns context.Canceled", handler: untilDone, want: "cancelled cancelled", message: "enough", after: second},
		{name: "returns a value, whether or not it noticed", handler: func(context.Context, *Job) Result {
			time.Sleep(3 * second)
			return Result{Value: []byte("1")}
		}, want: "succeeded", after: 3 * second},
		{name: "returns another error: failed, not retried", handler: func(ctx context.Context, _ *Job) Result {
			<-ctx.Done()
			return failed("error", "cleanup failed")
		}, want: "failed error", message: "cleanup failed", after: second},
		{name: "returns a cancelled error", handler: func(ctx context.Context, _ *Job) Result {
			<-ctx.Done()
			return failed("cancelled", "its own words")
		}, want: "cancelled cancelled", message: "enough", after: second},
		{name: "does not return within the grace", handler: func(context.Context, *Job) Result {
			time.Sleep(time.Minute)
			return Result{Value: []byte("1")}
		}, want: "cancelled cancelled", message: "enough", after: 6 * second},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fakeFleet{}
				w := newWorker(t, f, 1, map[string]Handler{"t": c.handler})
				begin := time.Now()
				deliver(t, w, f.task("a", func(cl *record.Claim) {
					cl.Options = record.Options{Retries: 3, GraceMS: ms(5000)}.Encode()
					cl.Cancelled = c.early
					if c.early {
						cl.Reason = reason
					}
				}))
				time.Sleep(second)
				w.Notice(record.Notice{Kind: 'c', ID: "a", Number: 6, Reason: reason}) // an older delivery's: not meant
				w.Notice(record.Notice{Kind: 'c', ID: "a", Number: 7, Reason: reason})
				w.Notice(record.Notice{Kind: 'c', ID: "a", Number: 7, Reason: &record.Failure{Kind: "cancelled", Message: "again"}})
				time.Sleep(2 * time.Minute)
				synctest.Wait()
				if len(f.all()) != 1 {
					t.Fatalf("told %+v", f.all())
				}
				x := f.all()[0]
				got := string(x.out.State)
				if x.failure != nil {
					got += " " + x.failure.Kind
				}
				if got != c.want || x.at.Sub(begin) != c.after {
					t.Errorf("%q after %s, want %q after %s", got, x.at.Sub(begin), c.want, c.after)
				}
				if c.message != "" && x.failure.Message != c.message {
					t.Errorf("message %q, want %q", x.failure.Message, c.message)
				}
			})
		})
	}
}

func TestDecision11_ALostNoticeComesWithTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{flags: []record.Flag{{Ref: record.Ref{ID: "a", Number: 7}, Reason: &record.Failure{Kind: "cancelled", Message: "enough"}}}}
		w := newWorker(t, f, 1, map[string]Handler{"t": untilDone})
		deliver(t, w, f.task("a", nil))
		synctest.Wait()
		if err := w.Ask(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if got := f.list("settle"); len(got) != 1 || got[0].out.State != record.Cancelled {
			t.Errorf("told %+v, want cancelled", f.all())
		}
	})
}

func TestDecision15_Deadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFleet{}
		var cause error
		w := newWorker(t, f, 1, map[string]Handler{"t": func(ctx context.Context, j *Job) Result {
			defer func() { cause = context.Cause(ctx) }()
			return untilDone(ctx, j)
		}})
		begin := time.Now()
		deliver(t, w, f.task("a", func(c *record.Claim) {
			c.Options = record.Options{Retries: 9}.Encode()
			c.Deadline = begin.Add(time.Minute)
		}))
		time.Sleep(2 * time.Minute)
		got := f.list("settle")
		if len(got) != 1 || got[0].out.State != record.TimedOut || got[0].failure.Kind != "deadline" || got[0].at.Sub(begin) != time.Minute {
			t.Fatalf("told %+v, want timed_out after a minute, not retried", f.all())
		}
		if !errors.Is(cause, errDeadline) {
			t.Errorf("the context ended with %v", cause)
		}
		deliver(t, w, f.task("b", func(c *record.Claim) { c.Deadline = time.Now().Add(-time.Second) }))
		synctest.Wait()
		if got := f.list("settle"); len(got) != 2 || got[1].failure.Kind != "deadline" || w.Stats().Started != 1 {
			t.Errorf("told %+v, started %d; a task past its deadline must not start", got, w.Stats().Started)
		}
	})
}
