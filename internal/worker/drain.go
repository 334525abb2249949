package worker

import (
	"errors"
	"fmt"
	"time"
)

const (
	drainMoment = time.Second     // for handlers to notice that their context has ended
	lastWord    = 5 * time.Second // for telling Redis what is given back
)

// Stop takes nothing new from here on: pumps pass their tickets on and return members that have not started; a delivery
// that still comes is handed back. It does not wait.
func (w *Worker) Stop() {
	w.closed.Lock()
	defer w.closed.Unlock()
	w.stop()
}

// Abort makes Drain, running or to come, give everything back at once. It does not wait.
func (w *Worker) Abort() { w.once.Do(func() { close(w.aborts) }) }

// Drain stops, lets running handlers go on for the configured time, then ends their contexts and gives back what does not
// end, nothing charged. It returns nil when every task that the worker held has ended or is delivered again; an error says
// how many could not be told so, ever, or were cut short by Abort. Handlers that ignore the end of their context run on.
func (w *Worker) Drain() error {
	w.Stop()
	defer w.kill()
	quiet := make(chan struct{})
	go func() {
		defer close(quiet)
		w.wg.Wait()
	}()
	patience := time.NewTimer(w.cfg.Drain)
	defer patience.Stop()
	aborted := false
	select {
	case <-quiet:
		return w.untoldError()
	case <-patience.C:
	case <-w.aborts:
		aborted = true
	}
	left, running := w.runs.last(), w.runs.size()
	w.cfg.Log.Info("draining: contexts of running handlers end", "running", running, "aborted", aborted)
	for _, r := range left {
		r.drain()
	}
	if !aborted {
		moment := time.NewTimer(drainMoment)
		defer moment.Stop()
		select {
		case <-quiet:
			return w.untoldError()
		case <-moment.C:
		case <-w.aborts:
			aborted = true
		}
	}
	for _, r := range w.runs.last() {
		r.giveBack()
	}
	word := time.NewTimer(lastWord)
	defer word.Stop()
	select {
	case <-quiet:
	case <-word.C:
		return fmt.Errorf("worker: redis was not told about %d deliveries; they are delivered again when this worker is declared dead", w.runs.size()+int(w.untold.Load()))
	}
	if aborted {
		return errors.Join(fmt.Errorf("worker: aborted, %d running tasks were given back", running), w.untoldError())
	}
	return w.untoldError()
}

// untoldError is nil unless Redis refused for good to hear about something that this worker held.
func (w *Worker) untoldError() error {
	n := w.untold.Load()
	if n == 0 {
		return nil
	}
	return fmt.Errorf("worker: redis refused to be told about %d deliveries; they are delivered again when this worker is declared dead", n)
}
