package main

import (
	"bytes"
	"context"
	"maps"
	"strings"
	"testing"

	"github.com/gatherq/gatherq/internal/cli"
)

func TestParseQueues(t *testing.T) {
	for s, want := range map[string]map[string]int{
		"default":             {"default": 1},
		"default=3,low=1":     {"default": 3, "low": 1},
		" a.b-c_1=1000 , x=1": {"a.b-c_1": 1000, "x": 1},
	} {
		got, err := parseQueues(s)
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("parseQueues(%q) = %v, %v; want %v", s, got, err, want)
		}
	}
	for s, why := range map[string]string{
		"": "queue", ",": "queue", "A": "must match", "a:b": "must match", "a}:t:x": "must match", "a=0": "1 to 1000", "a=1001": "1 to 1000",
		"a=": "1 to 1000", "a=x": "1 to 1000", "a,a=2": "twice", strings.Repeat("a", 65): "64",
	} {
		if _, err := parseQueues(s); err == nil || !strings.Contains(err.Error(), why) || !strings.Contains(err.Error(), "--queues") || cli.Code(err) != cli.ExitUsage {
			t.Errorf("parseQueues(%q): %v, want %q", s, err, why)
		}
	}
}

func TestReachable(t *testing.T) {
	for s, want := range map[string]string{
		"127.0.0.1:9090": "127.0.0.1:9090", "0.0.0.0:9090": "127.0.0.1:9090", ":9090": "127.0.0.1:9090",
		"[::]:9090": "[::1]:9090", "[::1]:1": "[::1]:1", "host:1": "host:1", "10.0.0.1:1": "10.0.0.1:1",
	} {
		if got := reachable(s); got != want {
			t.Errorf("reachable(%q) = %q, want %q", s, got, want)
		}
	}
}

// TestBadUsage: nothing of this is started, so no Redis is needed; each message names the flag.
func TestBadUsage(t *testing.T) {
	tests := []struct {
		args []string
		say  string
	}{
		{[]string{"--nope"}, "--nope"},
		{[]string{"extra"}, "extra"},
		{[]string{"health", "extra"}, "extra"},
		{[]string{"--concurrency", "0"}, "--concurrency 0: must be from 1 to 100000"},
		{[]string{"--concurrency", "100001"}, "--concurrency"},
		{[]string{"--concurrency", "many"}, "--concurrency"},
		{[]string{"--drain", "-1s"}, "--drain -1s: must be from 0 to 24h"},
		{[]string{"--drain", "25h"}, "--drain"},
		{[]string{"--unknown-type-wait", "0s"}, "--unknown-type-wait"},
		{[]string{"--max-result", "1048577"}, "--max-result"},
		{[]string{"--queues", "a=0"}, "--queues"},
		{[]string{"--admin", "9090"}, "--admin"},
		{[]string{"--admin", "h:x"}, "--admin"},
		{[]string{"health", "--admin", "off"}, "--admin"},
		{[]string{"--embedded-listen", "127.0.0.1:1"}, "--embedded-listen"},
		{[]string{"--redis", "embedded", "--embedded-listen", "x"}, "--embedded-listen"},
		{[]string{"--redis", "redis://:hunter2@h:x"}, "--redis"},
		{[]string{"--redis-file", "/none/such"}, "--redis-file"},
		{[]string{"--log-level", "x"}, "--log-level"},
		{[]string{"--namespace", "A"}, "namespace"},
		{[]string{"--file-root", "/none/such"}, "--file-root"},
		{[]string{"--allow-exec", "x"}, "--allow-exec"},
		{[]string{"--allow-exec-args"}, "--allow-exec-args"},
		{[]string{"--allow-http", "ftp://h"}, "--allow-http"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Setenv("GATHERQ_ADMIN", "")
			t.Setenv("GATHERQ_REDIS_URL", "")
			root := newRoot()
			var stdout, stderr bytes.Buffer
			root.SetArgs(tt.args)
			root.SetOut(&stdout)
			root.SetErr(&stderr)
			if code := cli.Execute(context.Background(), root); code != cli.ExitUsage {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
			if !strings.Contains(stderr.String(), tt.say) || strings.Contains(stderr.String(), "hunter2") {
				t.Errorf("stderr %q, want %q", stderr.String(), tt.say)
			}
			if stdout.Len() > 0 {
				t.Errorf("stdout %q", stdout.String())
			}
		})
	}
}
