package main

import (
	"bytes"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/gatherq/gatherq/bench/report"
)

// Size of the chart and of what surrounds the bars of one of its panels, in points.
const (
	chartWidth   = 640
	panelBorders = 74
	barPitch     = 19
	fontSlack    = 34 // between labels and bars: a reader's font may be wider than the one that they were measured with
)

// entry is a bar to be: a value of a side, if the run has it.
type entry struct {
	label, scenario, side, value string
}

// panel is one of the chart's two.
type panel struct {
	title   string
	entries []entry
}

var panels = []panel{
	{"Operations a second, all results in the caller's hand (more is better)", []entry{
		{"256 callers: asynq, polled", "single-256", "asynq-poll single", report.PerSecond},
		{"256 callers: gatherq", "single-256", "gatherq", report.PerSecond},
		{"gather of 10,000: asynq, polled", "gather-10k", "asynq-poll gather", report.PerSecond},
		{"gather of 10,000: gatherq", "gather-10k", "gatherq", report.PerSecond},
		{"gather of 100,000: bare Redis lists", "gather-100k", "fan-out", report.PerSecond},
		{"gather of 100,000: gatherq", "gather-100k", "gatherq", report.PerSecond},
	}},
	{"Idle round trip, median, in µs (less is better)", []entry{
		{"bare Redis lists", "round-trip", "ping-pong", report.P50},
		{"gatherq", "round-trip", "gatherq", report.P50},
		{"asynq, polled, checks each 1 ms", "round-trip", "asynq-poll idle 1ms", report.P50},
		{"asynq, polled, defaults", "round-trip", "asynq-poll idle default", report.P50},
	}},
}

// draw returns the chart of a run as SVG, the same bytes for the same samples.
func draw(run report.Run) ([]byte, error) {
	heights := make([]vg.Length, len(panels))
	drawn := make([]bars, len(panels))
	var whole vg.Length
	for i, p := range panels {
		for _, e := range p.entries {
			if values := run.Values(e.scenario, e.side, e.value); len(values) > 0 {
				drawn[i] = append(drawn[i], bar{label: e.label, ours: e.side == "gatherq", spread: report.SpreadOf(values)})
			}
		}
		if len(drawn[i]) > 0 {
			heights[i] = panelBorders + vg.Length(len(drawn[i])*barPitch)
			whole += heights[i]
		}
	}
	canvas := vgsvg.New(chartWidth, whole)
	all := vgdraw.New(canvas)
	top := whole
	for i, p := range panels {
		if len(drawn[i]) == 0 {
			continue
		}
		picture := plot.New()
		picture.Title.Text = p.title
		picture.Title.Padding = 6
		for _, style := range []*text.Style{&picture.Title.TextStyle, &picture.X.Tick.Label, &picture.Y.Tick.Label} {
			style.Font.Variant = "Sans"
		}
		picture.X.Scale = plot.LogScale{}
		picture.X.Tick.Marker = powers{}
		picture.Y.Tick.Marker = drawn[i].labels()
		picture.Y.Tick.Length = 0
		picture.Y.LineStyle.Width = 0
		picture.Y.Padding = fontSlack
		picture.Add(drawn[i])
		picture.X.Min, picture.X.Max, picture.Y.Min, picture.Y.Max = drawn[i].DataRange()
		bottom := top - heights[i]
		picture.Draw(vgdraw.Crop(all, 8, -28, bottom+8, top-whole-8))
		top = bottom
	}
	var b bytes.Buffer
	_, err := canvas.WriteTo(&b)
	// Fonts of the same widths, for readers without this one.
	return bytes.ReplaceAll(b.Bytes(), []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")), err
}
