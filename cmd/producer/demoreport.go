package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/internal/tasks"
)

// Bounds of what the demo prints for people.
const (
	demoLargest      = 10
	demoDisagreement = 20
)

// demoSummary is the demo's last line in JSON.
type demoSummary struct {
	Files      int     `json:"files"`
	Bytes      int64   `json:"bytes"`
	Lines      int64   `json:"lines"`
	Unreadable int     `json:"unreadable"` // by either side
	Seconds    float64 `json:"seconds"`
	Agrees     bool    `json:"agrees"`
	Disagree   int     `json:"disagree"`
}

// demoLine is one file in JSON.
type demoLine struct {
	Path string `json:"path"`
	*tasks.FileInfo
	Error  string `json:"error,omitempty"`
	Agrees bool   `json:"agrees"`
}

// difference says how the two readings of a file differ; "" if they do not. That neither could read it is agreement.
func (f *demoFile) difference() string {
	say := func(info tasks.FileInfo, err error) string {
		if err != nil {
			return "failed with " + faultOf(err).Message
		}
		return fmt.Sprintf("found %d bytes, %d lines, SHA-256 %s", info.Size, info.Lines, info.SHA256)
	}
	if (f.gotErr == nil) == (f.ownErr == nil) && f.got == f.own {
		return ""
	}
	return "the task " + say(f.got, f.gotErr) + "; reading it directly " + say(f.own, f.ownErr)
}

// demoReport writes the results. The error is that the two sides do not agree, which has been said.
func (o *output) demoReport(found []demoFile, took time.Duration) error {
	sum := demoSummary{Seconds: took.Seconds()}
	var readable []*demoFile
	for i := range found {
		f := &found[i]
		diff := f.difference()
		if o.json {
			line := demoLine{Path: f.path, Agrees: diff == ""}
			if f.gotErr == nil {
				line.FileInfo = &f.got
			} else {
				line.Error = faultOf(f.gotErr).Message
			}
			o.object(line)
		}
		if diff != "" {
			if sum.Disagree++; sum.Disagree <= demoDisagreement {
				o.say("producer: disagreement about %s: %s", f.path, diff)
			}
		}
		if f.gotErr != nil {
			sum.Unreadable++
			continue
		}
		sum.Files++
		sum.Bytes += f.got.Size
		sum.Lines += f.got.Lines
		readable = append(readable, f)
	}
	sum.Agrees = sum.Disagree == 0
	if more := sum.Disagree - demoDisagreement; more > 0 {
		o.say("producer: disagreement about %d more", more)
	}
	if o.json {
		o.object(sum)
	} else {
		o.demoTable(readable, sum)
	}
	if !sum.Agrees {
		return cli.Exit(cli.ExitFailed, nil)
	}
	return nil
}

// demoTable writes the largest files and the totals.
func (o *output) demoTable(readable []*demoFile, sum demoSummary) {
	slices.SortStableFunc(readable, func(a, b *demoFile) int { return cmp.Compare(b.got.Size, a.got.Size) })
	if len(readable) > demoLargest {
		readable = readable[:demoLargest]
	}
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "size\tlines\tSHA-256\t  file\n")
	for _, f := range readable {
		fmt.Fprintf(table, "%s\t%d\t%.12s\t  %s\n", bytesFor(f.got.Size), f.got.Lines, f.got.SHA256, oneLine(f.path))
	}
	_ = table.Flush()
	for line := range strings.Lines(text.String()) {
		o.line([]byte(strings.TrimRight(line, " \n")))
	}
	o.line()
	verdict := "the direct computation agrees"
	if !sum.Agrees {
		verdict = fmt.Sprintf("the direct computation DISAGREES about %d", sum.Disagree)
	}
	total := fmt.Sprintf("%d files, %s, %d lines, gathered in %v; %s",
		sum.Files, bytesFor(sum.Bytes), sum.Lines, time.Duration(sum.Seconds*float64(time.Second)).Round(time.Millisecond), verdict)
	if sum.Unreadable > 0 {
		total += fmt.Sprintf("; %d could not be read", sum.Unreadable)
	}
	o.line([]byte(total))
}

// bytesFor returns a size for people.
func bytesFor(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	f, units := float64(n), "KMGTPE"
	i := -1
	for f >= 1023.95 {
		f /= 1024
		i++
	}
	return fmt.Sprintf("%.1f %ciB", f, units[i])
}
