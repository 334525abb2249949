package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/redis/go-redis/v9"
)

func TestDecision45_KeysExpireByTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := Start("")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		rdb := redis.NewClient(r.Options())
		defer rdb.Close()
		ctx := t.Context()
		before, err := rdb.Time(ctx).Result()
		if err != nil {
			t.Fatal(err)
		}
		rdb.Set(ctx, "k", "v", 10*time.Second)
		time.Sleep(9 * time.Second)
		if n := rdb.Exists(ctx, "k").Val(); n != 1 {
			t.Error("the key vanished early")
		}
		time.Sleep(1100 * time.Millisecond)
		if n := rdb.Exists(ctx, "k").Val(); n != 0 {
			t.Error("the key is still there")
		}
		after := rdb.Time(ctx).Val()
		if d := after.Sub(before); d != 10100*time.Millisecond {
			t.Errorf("TIME moved by %v while the clock moved by 10.1s", d)
		}
		start := time.Now()
		if err := rdb.BLPop(ctx, 2*time.Second, "q").Err(); !errors.Is(err, redis.Nil) {
			t.Errorf("BLPOP: %v", err)
		}
		if d := time.Since(start); d != 2*time.Second {
			t.Errorf("BLPOP of 2 s took %v", d)
		}
	})
}

// A pipeline whose answers exceed any buffer must not stop a pipe that is read only after it was written.
func TestLargePipeline(t *testing.T) {
	r, err := Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	rdb := redis.NewClient(r.Options())
	defer rdb.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	value := strings.Repeat("x", 2000)
	pipe := rdb.Pipeline()
	var gets []*redis.StringCmd
	for i := range 500 {
		key := fmt.Sprint("k", i)
		pipe.Set(ctx, key, value+key, 0)
		gets = append(gets, pipe.Get(ctx, key))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	for i, g := range gets {
		if want := value + fmt.Sprint("k", i); g.Val() != want {
			t.Fatalf("answer %d is %q", i, g.Val())
		}
	}
}

func TestListens(t *testing.T) {
	r, err := Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	near, far := redis.NewClient(r.Options()), redis.NewClient(&redis.Options{Addr: r.Addr()})
	defer near.Close()
	defer far.Close()
	if err := far.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if v := near.Get(t.Context(), "k").Val(); v != "v" {
		t.Errorf("this process reads %q", v)
	}
	if _, err := Start(r.Addr()); err == nil || !strings.Contains(err.Error(), "embedded Redis") {
		t.Errorf("a second one on the same address: %v", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	before := runtime.NumGoroutine()
	for range 20 {
		r, err := Start("")
		if err != nil {
			t.Fatal(err)
		}
		rdb := redis.NewClient(r.Options())
		blocked := make(chan error, 1)
		go func() { blocked <- rdb.BLPop(context.Background(), time.Minute, "q").Err() }()
		if err := rdb.Set(t.Context(), "k", "v", 0).Err(); err != nil {
			t.Fatal(err)
		}
		r.Close()
		r.Close()
		if err := <-blocked; err == nil {
			t.Error("BLPOP got something from a closed Redis")
		}
		if err := rdb.Ping(t.Context()).Err(); err == nil {
			t.Error("a closed Redis answered")
		}
		rdb.Close()
	}
	for end := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > before; runtime.Gosched() {
		if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", runtime.NumGoroutine(), before, buf[:runtime.Stack(buf, true)])
		}
	}
}

func TestPipe(t *testing.T) {
	t.Run("deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			a, b := pipe()
			_ = a.SetDeadline(time.Now().Add(time.Second))
			start := time.Now()
			_, err := a.Read(make([]byte, 1))
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			var ne net.Error
			if !errors.As(err, &ne) || !ne.Timeout() {
				t.Errorf("%v is no timeout", err)
			}
			// A deadline that moves into the past wakes a reader.
			_ = b.SetReadDeadline(time.Time{})
			got := make(chan error)
			go func() { _, err := b.Read(make([]byte, 1)); got <- err }()
			synctest.Wait()
			_ = b.SetReadDeadline(time.Unix(1, 0))
			if err := <-got; !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Error(err)
			}
		})
	})
	t.Run("close", func(t *testing.T) {
		a, b := pipe()
		if _, err := a.Write([]byte("last words")); err != nil {
			t.Fatal(err)
		}
		_ = a.Close()
		if got, err := io.ReadAll(b); string(got) != "last words" || err != nil {
			t.Errorf("%q, %v", got, err)
		}
		if _, err := b.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	})
}

// Scripts that begin with "#!" run, by their text and by the name that a real Redis gives them, also behind others in MULTI.
func TestDecision18_AScriptsFirstLineIsStripped(t *testing.T) {
	r, err := Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, script := t.Context(), redis.NewScript("#!lua flags=allow-oom\nreturn {KEYS[1], ARGV[1]}")
	for _, opts := range []*redis.Options{r.Options(), {Addr: r.Addr()}} {
		rdb := redis.NewClient(opts)
		defer rdb.Close()
		for range 2 {
			if err := script.EvalSha(ctx, rdb, []string{"k"}, "v").Err(); !redis.HasErrorPrefix(err, "NOSCRIPT") {
				t.Errorf("not sent yet: %v", err)
			}
			if got, err := script.Eval(ctx, rdb, []string{"k"}, "v").StringSlice(); err != nil || fmt.Sprint(got) != "[k v]" {
				t.Errorf("%v, %v", got, err)
			}
			if got, err := script.EvalSha(ctx, rdb, []string{"k"}, "v").StringSlice(); err != nil || fmt.Sprint(got) != "[k v]" {
				t.Errorf("by its name: %v, %v", got, err)
			}
			if _, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error { return script.EvalSha(ctx, p, []string{"k"}, "v").Err() }); err != nil {
				t.Errorf("in MULTI: %v", err)
			}
			rdb.ScriptFlush(ctx)
		}
		if err := rdb.Eval(ctx, "#!lua\nreturn (1 1)", nil).Err(); err == nil || !strings.Contains(err.Error(), "line:2") {
			t.Errorf("an error names the line as it stands: %v", err)
		}
	}
}
