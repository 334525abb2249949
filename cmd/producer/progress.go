package main

import (
	"context"
	"sync"
	"time"

	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/gatherq/gatherq/pkg/jobs"
)

// lookEvery is how often a progress bar asks for the counts of a group.
const lookEvery = 300 * time.Millisecond

// progress draws a bar on stderr. A nil progress, of a stderr that is no terminal, draws nothing.
type progress struct {
	container *mpb.Progress
	bar       *mpb.Bar
	out       *output
	end       sync.Once
}

// progress returns a bar for total things, or for an unknown number of them where total is 0. Until it is finished all that goes to stderr
// goes above it.
func (o *output) progress(name string, total int64) *progress {
	if !isTerminal(o.stderr) {
		return nil
	}
	p := drawProgress(name, total, mpb.WithOutput(o.stderr))
	p.out = o
	o.bar.Store(p)
	return p
}

func drawProgress(name string, total int64, options ...mpb.ContainerOption) *progress {
	p := &progress{container: mpb.New(append(options, mpb.WithWidth(72), mpb.WithRefreshRate(120*time.Millisecond))...)}
	before := []decor.Decorator{decor.Name(name, decor.WCSyncSpaceR)}
	var after []decor.Decorator
	style := mpb.BarFillerBuilder(mpb.BarStyle())
	if total > 0 {
		before = append(before, decor.CountersNoUnit("%d / %d", decor.WCSyncSpace))
		after = append(after, decor.Percentage(decor.WC{W: 5}))
	} else {
		before = append(before, decor.CurrentNoUnit("%d", decor.WCSyncSpace))
		style = mpb.NopStyle()
	}
	after = append(after, decor.Elapsed(decor.ET_STYLE_GO, decor.WC{W: 6}))
	p.bar = p.container.New(total, style, mpb.PrependDecorators(before...), mpb.AppendDecorators(after...))
	return p
}

// set moves the bar to n.
func (p *progress) set(n int64) {
	if p != nil {
		p.bar.SetCurrent(n)
	}
}

// add moves the bar by n.
func (p *progress) add(n int) {
	if p != nil {
		p.bar.IncrBy(n)
	}
}

// finish draws the bar a last time, where it stands, and leaves the terminal to others.
func (p *progress) finish() {
	if p == nil {
		return
	}
	p.end.Do(func() {
		if p.out != nil {
			p.out.bar.CompareAndSwap(p, nil)
		}
		p.bar.Abort(false)
		p.container.Wait()
	})
}

// follow draws a bar of how many members of a group have ended, until ctx ends or stop is called. Stop takes whether all have, and returns when
// the bar is drawn for the last time.
func (s *session) follow(ctx context.Context, sub subject) (stop func(all bool)) {
	if !isTerminal(s.out.stderr) {
		return func(bool) {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var bar *progress
	var total int
	var done sync.WaitGroup
	done.Go(func() {
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			if info, err := jobs.Inspect(ctx, s.group(sub)); err == nil {
				var ended int
				if total, ended = members(info); bar == nil && total > 0 {
					bar = s.out.progress("ended", int64(total))
				}
				bar.set(int64(ended))
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func(all bool) {
		cancel()
		done.Wait()
		if all {
			bar.set(int64(total))
		}
		bar.finish()
	}
}
