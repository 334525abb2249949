package worker

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// Each piece of work runs at once, whatever the others do and however they end; goroutines stay for the next, a limited number, until the end.
func TestAPoolRunsEverythingAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // fails, too, where a goroutine outlives the pool
		life, end := context.WithCancel(t.Context())
		c := newPool(life.Done())
		const n = poolIdle + 44
		var running, done atomic.Int32
		for round := range 3 {
			release := make(chan struct{})
			running.Store(0)
			done.Store(0)
			for i := range n {
				c.run(func() {
					running.Add(1)
					<-release
					done.Add(1)
					if i%2 == 0 {
						runtime.Goexit()
					}
				})
			}
			synctest.Wait()
			if running.Load() != n {
				t.Fatalf("round %d: %d of %d run", round, running.Load(), n)
			}
			close(release)
			synctest.Wait()
			if idle := c.idle.Load(); done.Load() != n || idle != n/2 {
				t.Errorf("round %d: %d of %d have ended, %d wait for more", round, done.Load(), n, idle)
			}
		}
		release := make(chan struct{})
		for range n {
			c.run(func() { <-release })
		}
		close(release)
		synctest.Wait()
		if idle := c.idle.Load(); idle != poolIdle {
			t.Errorf("%d wait for more, want %d", idle, poolIdle)
		}
		end()
		synctest.Wait()
		if idle := c.idle.Load(); idle != 0 {
			t.Errorf("%d wait after the end", idle)
		}
	})
}
