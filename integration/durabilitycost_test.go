package integration

import (
	"slices"
	"testing"
	"time"

	"github.com/gatherq/gatherq/integration/redistest"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// How long a creation takes under each durability, one after the other and measured by hand: GATHERQ_LONG=1, with GATHERQ_FIGURES for the
// samples. The policies take turns, so that what else the machine does meets all of them.
func TestDecision17_WhatADurabilityCosts(t *testing.T) {
	long(t)
	pair, _ := mirrored(t)
	always := redistest.Local(t, "--appendonly", "yes", "--appendfsync", "always")
	current := redistest.Container(t, "redis:8.0")
	for _, setting := range [][2]string{{"appendonly", "yes"}, {"appendfsync", "always"}} {
		if err := current.Client(t).ConfigSet(t.Context(), setting[0], setting[1]).Err(); err != nil {
			t.Fatal(err)
		}
	}
	type policy struct {
		name string
		s    *redistest.Server
		cfg  jobs.ClientConfig
		c    *jobs.Client
		took []time.Duration
	}
	policies := []*policy{
		{name: "local, no file", s: redistest.Local(t)},
		{name: "local, everysec", s: redistest.Local(t, "--appendonly", "yes")},
		{name: "local, one replica", s: pair},
		{name: "replicas=1", s: pair, cfg: jobs.ClientConfig{Durability: jobs.Replicas(1)}},
		{name: "fsync by appendfsync always", s: always, cfg: jobs.ClientConfig{Durability: jobs.Fsync, AppendFsyncAlways: true}},
		{name: "local, appendfsync always, 8.0 in Docker", s: current},
		{name: "fsync by WAITAOF, appendfsync always, 8.0 in Docker", s: current, cfg: jobs.ClientConfig{Durability: jobs.Fsync}},
	}
	for _, p := range policies {
		p.cfg.DurableWithin = time.Minute
		p.c = client(t, p.s, p.cfg)
	}
	for round := range 11 {
		for _, p := range policies {
			for range 30 {
				began := time.Now()
				if _, err := jobs.CreateTask(t.Context(), p.c, perishable.Call(0)); err != nil {
					t.Fatal(p.name, err)
				}
				if round > 0 { // the first is for connections and scripts
					p.took = append(p.took, time.Since(began))
				}
			}
		}
	}
	for _, p := range policies {
		slices.Sort(p.took)
		at := func(percent int) float64 { return float64(p.took[len(p.took)*percent/100].Microseconds()) / 1000 }
		figure(t, "durability", map[string]any{"policy": p.name, "creations": len(p.took), "p50_ms": at(50), "p99_ms": at(99)})
	}
}
