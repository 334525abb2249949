package history

import (
	"math"
	"time"
)

// Killed is the fault that no process comes back from. Any other one passes.
const Killed = "kill -9"

// A fault explains what happened a moment before and behind it as well, and nothing else that its processes ever do.
const (
	before = 20 * time.Second // a handler had returned, and its end was still on its way
	behind = 5 * time.Second  // a claim from before the fault whose answer arrived when it was over, in a worker that had been declared dead
)

// crashes is how many deaths under a task end it as a crash_loop.
const crashes = 3

// never is later than any time, with room for the two above.
const never = math.MaxInt64 / 2

// hit is what a fault did to some processes.
type hit struct {
	begin, end int64
	kills      bool
}

// strike notes a fault. Until its own end is read it has none.
func (c *checker) strike(key opKey, e Event) {
	c.sum.Faults++
	if len(e.Procs) == 0 {
		return
	}
	h := &hit{begin: e.At, end: never, kills: e.Fault == Killed}
	c.open[key] = h
	c.hits = append(c.hits, h)
	for _, p := range e.Procs {
		c.struck[p] = append(c.struck[p], h)
	}
}

// over notes the end of a fault; of a kill there is none.
func (c *checker) over(key opKey, at int64) {
	if h := c.open[key]; h != nil && !h.kills {
		h.end = at
	}
}

// took reports whether a fault explains that nobody knows how a run ended.
func (c *checker) took(key opKey) bool {
	from, to := c.begun[key].At, int64(never)
	if end, ok := c.ended[key]; ok {
		to = end.At
	}
	for _, h := range c.struck[key.proc] {
		if from <= h.end+int64(behind) && to+int64(before) >= h.begin {
			return true
		}
	}
	return false
}

// killed reports whether an operation without an end was under way when its process was killed. Who was stopped or cut off goes on.
func (c *checker) killed(proc int) bool {
	for _, h := range c.struck[proc] {
		if h.kills {
			return true
		}
	}
	return false
}

// deaths counts the faults of processes in a time, in which each may have been taken for dead.
func (c *checker) deaths(from, to int64) (n int) {
	for _, h := range c.hits {
		if h.begin <= to && h.end >= from {
			n++
		}
	}
	return n
}
