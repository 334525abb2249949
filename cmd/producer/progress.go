package main

import (
	"context"
	"io"
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
	end       sync.Once
}

// newProgress returns a bar for total things, or for an unknown number of them where total is 0.
func newProgress(stderr io.Writer, name string, total int64) *progress {
	if !isTerminal(stderr) {
		return nil
	}
	return drawProgress(name, total, mpb.WithOutput(stderr))
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
		p.bar.Abort(false)
		p.container.Wait()
	})
}

// follow draws a bar of how many members of a group have ended until ctx does or stop is called; stop returns when it is drawn for the last
// time.
func (s *session) follow(ctx context.Context, sub subject) (stop func()) {
	if !isTerminal(s.out.stderr) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		var bar *progress
		defer func() { bar.finish() }()
		tick := time.NewTicker(lookEvery)
		defer tick.Stop()
		for {
			if info, err := jobs.Inspect(ctx, s.group(sub)); err == nil {
				total, ended := members(info)
				if bar == nil && total > 0 {
					bar = newProgress(s.out.stderr, sub.id, int64(total))
				}
				bar.set(int64(ended))
				if total == ended {
					return
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}
