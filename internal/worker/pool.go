package worker

import "sync/atomic"

// pool runs what a task needs of its own on goroutines that stay for the next. A fresh goroutine grows its stack three times until it has
// run a handler or a script's call, and copies it each time: that was a fifth of a worker's CPU where tasks are short
// (docs/performance.md, "What the profiles taught"). It ends with the worker's life.
type pool struct {
	work chan func()
	idle atomic.Int32
	end  <-chan struct{}
}

// poolIdle is how many goroutines of a pool may wait for work; those beyond end, with their stacks.
const poolIdle = 256

func newPool(end <-chan struct{}) *pool { return &pool{work: make(chan func()), end: end} }

// run runs f on a goroutine of its own, at once: nobody waits for another's. F may panic or call Goexit as in any goroutine.
func (c *pool) run(f func()) {
	select {
	case c.work <- f:
	default:
		go c.serve(f)
	}
}

func (c *pool) serve(f func()) {
	for {
		f()
		if c.idle.Add(1) > poolIdle {
			c.idle.Add(-1)
			return
		}
		select {
		case f = <-c.work:
			c.idle.Add(-1)
		case <-c.end:
			c.idle.Add(-1)
			return
		}
	}
}
