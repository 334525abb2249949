package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"

	"github.com/gatherq/gatherq/internal/cli"
	"github.com/gatherq/gatherq/pkg/jobs"
)

// runner runs scenarios, any number at a time, and writes what became of them.
type runner struct {
	cfg config
	url string

	mu     sync.Mutex
	stdout io.Writer
	stderr io.Writer
	failed bool
}

// scenario runs one, once, prints its line and compares it.
func (r *runner) scenario(ctx context.Context, sc *scenario) {
	ctx, cancel := context.WithTimeout(ctx, r.cfg.timeout)
	defer cancel()
	line, err := r.play(ctx, sc)

	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = true
		fmt.Fprintf(r.stderr, "%s: failed: %v\n", sc.Name, err)
		return
	}
	fmt.Fprintf(r.stdout, "%s\n", line.all)
	if sc.Expect == nil {
		return
	}
	lines, err := differences(sc.Expect, line.compared)
	if err != nil {
		lines = []string{": " + err.Error()}
	}
	for _, l := range lines {
		r.failed = true
		fmt.Fprintf(r.stderr, "%s%s\n", sc.Name, l)
	}
}

// line is what a scenario gave: the printed object, and the part of it that "expect" has.
type line struct{ all, compared []byte }

func (r *runner) play(ctx context.Context, sc *scenario) (line, error) {
	s, err := newScript(sc, sc.Name+"."+strings.ToLower(rand.Text()[:12]))
	if err != nil {
		return line{}, err
	}
	conns := &connections{cfg: r.cfg, url: r.url}
	defer conns.close()
	for i, op := range sc.Script {
		if err := conns.use(func(c *jobs.Client) error { return at{s, c}.do(ctx, op) }); err != nil {
			return line{}, fmt.Errorf("operation %d, %s: %w", i+1, op.Op, err)
		}
	}
	var final map[string]any
	err = conns.use(func(c *jobs.Client) (err error) {
		final, err = at{s, c}.final(ctx)
		return err
	})
	if err != nil {
		return line{}, err
	}
	compared := map[string]any{"log": s.log, "final": final}
	out := line{compared: encode(compared)}
	compared["name"] = sc.Name
	out.all = encode(compared)
	return out, nil
}

// encode writes JSON without escapes that nobody asked for.
func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return encode(map[string]any{"unencodable": err.Error()})
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// connections hands out clients: a new one with its own connection for each use, or, without -fresh, always the same.
type connections struct {
	cfg    config
	url    string
	client *jobs.Client
	end    func()
}

func (c *connections) use(do func(*jobs.Client) error) error {
	if c.client == nil {
		client, _, end, err := connect(c.url, c.cfg.namespace)
		if err != nil {
			return err
		}
		c.client, c.end = client, end
	}
	if c.cfg.fresh {
		defer c.close()
	}
	return do(c.client)
}

func (c *connections) close() {
	if c.client != nil {
		c.end()
		c.client, c.end = nil, nil
	}
}

// connect returns a client, its Redis, and what ends both.
func connect(url, namespace string) (*jobs.Client, redis.UniversalClient, func(), error) {
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	var connection cli.Connection
	connection.Register(flags)
	if err := flags.Set("redis", url); err != nil {
		return nil, nil, nil, err
	}
	rdb, err := connection.Open(cli.OpenConfig{})
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := jobs.NewClient(rdb.Client, jobs.ClientConfig{Namespace: namespace, Logger: quiet})
	if err != nil {
		rdb.Close()
		return nil, nil, nil, err
	}
	return c, rdb.Client, func() {
		c.Close()
		rdb.Close()
	}, nil
}
