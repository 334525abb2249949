package main

import (
	"image/color"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"

	"github.com/gatherq/gatherq/bench/report"
)

// bar is one line of a chart: a median, and a whisker from the least to the most.
type bar struct {
	label  string
	ours   bool
	spread report.Spread
}

// bars draws horizontal bars on a logarithmic axis, the first one on top. Gonum's own bars begin at 0, which such an axis does not have.
type bars []bar

var (
	oursColor    = color.RGBA{R: 0x1f, G: 0x77, B: 0xb4, A: 0xff}
	theirsColor  = color.RGBA{R: 0xb8, G: 0xbd, B: 0xc4, A: 0xff}
	whiskerColor = color.RGBA{R: 0x33, G: 0x33, B: 0x33, A: 0xff}
)

const barWidth = 13 // points

// DataRange implements plot.DataRanger: whole powers of ten around everything.
func (bs bars) DataRange() (xmin, xmax, ymin, ymax float64) {
	low, high := math.Inf(1), math.Inf(-1)
	for _, b := range bs {
		low, high = min(low, b.spread.Min), max(high, b.spread.Max)
	}
	return math.Pow(10, math.Floor(math.Log10(low)-0.01)), math.Pow(10, math.Ceil(math.Log10(high*1.6))), -0.6, float64(len(bs)) - 0.4
}

// Plot implements plot.Plotter.
func (bs bars) Plot(c vgdraw.Canvas, p *plot.Plot) {
	x, y := p.Transforms(&c)
	style := p.X.Tick.Label
	style.XAlign, style.YAlign = vgdraw.XLeft, vgdraw.YCenter
	for i, b := range bs {
		middle := y(float64(len(bs) - 1 - i))
		fill := color.Color(theirsColor)
		if b.ours {
			fill = oursColor
		}
		left, right := x(p.X.Min), x(b.spread.Median)
		c.FillPolygon(fill, []vg.Point{
			{X: left, Y: middle - barWidth/2}, {X: right, Y: middle - barWidth/2}, {X: right, Y: middle + barWidth/2}, {X: left, Y: middle + barWidth/2},
		})
		line := vgdraw.LineStyle{Color: whiskerColor, Width: vg.Points(1)}
		c.StrokeLine2(line, x(b.spread.Min), middle, x(b.spread.Max), middle)
		for _, end := range []float64{b.spread.Min, b.spread.Max} {
			c.StrokeLine2(line, x(end), middle-3, x(end), middle+3)
		}
		c.FillText(style, vg.Point{X: x(b.spread.Max) + 5, Y: middle}, report.Number(b.spread.Median))
	}
}

// labels names the bars on the vertical axis.
func (bs bars) labels() plot.ConstantTicks {
	ticks := make(plot.ConstantTicks, len(bs))
	for i, b := range bs {
		ticks[i] = plot.Tick{Value: float64(len(bs) - 1 - i), Label: b.label}
	}
	return ticks
}

// powers marks the powers of ten.
type powers struct{}

// Ticks implements plot.Ticker.
func (powers) Ticks(low, high float64) (ticks []plot.Tick) {
	for v := low; v <= high*1.0001; v *= 10 {
		ticks = append(ticks, plot.Tick{Value: v, Label: report.Number(math.Round(v))})
	}
	return ticks
}
