package main

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// exposition serves the metrics of a worker and of its process in the text format of Prometheus.
func exposition(w workerState) http.Handler {
	return promhttp.HandlerFor(newRegistry(w), promhttp.HandlerOpts{})
}

func newRegistry(w workerState) *prometheus.Registry {
	version := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "gatherq_build_info", Help: "1, with the version of the program.", ConstLabels: prometheus.Labels{"version": cli.Version()},
	})
	version.Set(1)
	r := prometheus.NewRegistry()
	r.MustRegister(collector{w}, version, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// collector hands what a worker counts to Prometheus, as it stands when somebody asks.
type collector struct{ worker workerState }

// Describe names all metrics.
func (c collector) Describe(out chan<- *prometheus.Desc) {
	for _, m := range c.worker.Metrics() {
		out <- describe(m)
	}
}

// Collect sends the values of now.
func (c collector) Collect(out chan<- prometheus.Metric) {
	for _, m := range c.worker.Metrics() {
		desc := describe(m)
		for _, s := range m.Samples {
			var labels []string
			if m.Label != "" {
				labels = []string{s.Label}
			}
			switch m.Kind {
			case jobs.MetricHistogram:
				out <- prometheus.MustNewConstHistogram(desc, s.Count, s.Value, s.Buckets, labels...)
			case jobs.MetricGauge:
				out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, s.Value, labels...)
			case jobs.MetricCounter:
				out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, s.Value, labels...)
			}
		}
	}
}

func describe(m jobs.Metric) *prometheus.Desc {
	var labels []string
	if m.Label != "" {
		labels = []string{m.Label}
	}
	return prometheus.NewDesc(m.Name, m.Help, labels, nil)
}
