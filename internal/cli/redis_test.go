package cli

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/spf13/pflag"
)

func connection(t *testing.T, args ...string) *Connection {
	t.Helper()
	c := &Connection{}
	fs := pflag.NewFlagSet("x", pflag.ContinueOnError)
	c.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	return c
}

func write(t *testing.T, content string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestTargetSources(t *testing.T) {
	file := write(t, "redis://:hunter2@file:1/1\n")
	tests := []struct {
		name string
		args []string
		env  map[string]string
		want string
		fail string
	}{
		{name: "default", want: "redis://127.0.0.1:6379/0"},
		{name: "flag", args: []string{"--redis", "redis://flag"}, want: "redis://flag:6379/0"},
		{name: "flag wins over the environment", args: []string{"--redis", "redis://flag"}, env: map[string]string{"GATHERQ_REDIS_URL": "redis://env", "GATHERQ_REDIS_FILE": file}, want: "redis://flag:6379/0"},
		{name: "file", args: []string{"--redis-file", file}, want: "redis://file:1/1"},
		{name: "file wins over the environment", args: []string{"--redis-file", file}, env: map[string]string{"GATHERQ_REDIS_URL": "redis://env"}, want: "redis://file:1/1"},
		{name: "url of the environment", env: map[string]string{"GATHERQ_REDIS_URL": "redis://env"}, want: "redis://env:6379/0"},
		{name: "flag's own variable", env: map[string]string{"GATHERQ_REDIS": "redis://env"}, want: "redis://env:6379/0"},
		{name: "file of the environment", env: map[string]string{"GATHERQ_REDIS_FILE": file}, want: "redis://file:1/1"},
		{name: "two flags", args: []string{"--redis", "redis://flag", "--redis-file", file}, fail: "exclude each other"},
		{name: "two variables", env: map[string]string{"GATHERQ_REDIS_URL": "redis://env", "GATHERQ_REDIS_FILE": file}, fail: "exclude each other"},
		{name: "empty flag", args: []string{"--redis", ""}, fail: "--redis: the URL has no scheme"},
		{name: "bad variable", env: map[string]string{"GATHERQ_REDIS_URL": "redis://:hunter2@h:x"}, fail: "GATHERQ_REDIS_URL: address 1"},
		{name: "no such file", args: []string{"--redis-file", file + ".no"}, fail: "--redis-file: open"},
		{name: "no file", args: []string{"--redis-file", ""}, fail: "--redis-file: the name is empty"},
		{name: "empty file", args: []string{"--redis-file", write(t, " \n")}, fail: "is empty"},
		{name: "long file", args: []string{"--redis-file", write(t, strings.Repeat("x", maxURLFile+1))}, fail: "longer than"},
		{name: "bad file", args: []string{"--redis-file", write(t, "redis://:hunter2#@h")}, fail: "--redis-file: the URL"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, k := range []string{"GATHERQ_REDIS_URL", "GATHERQ_REDIS", "GATHERQ_REDIS_FILE"} {
				t.Setenv(k, tt.env[k])
			}
			got, err := connection(t, tt.args...).Target()
			if tt.fail == "" {
				if err != nil || got.String() != tt.want {
					t.Errorf("%s, %v; want %s", got, err, tt.want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.fail) || strings.Contains(err.Error(), "hunter2") {
				t.Fatalf("error %v, want %q", err, tt.fail)
			}
			if Code(err) != ExitUsage {
				t.Errorf("exit code %d", Code(err))
			}
		})
	}
}

func TestCredentialsAreReadAgain(t *testing.T) {
	file := write(t, "redis://u:one@h")
	c := &credentials{file: file}
	if user, password := c.current(); user != "u" || password != "one" {
		t.Fatalf("%q %q", user, password)
	}
	if err := os.WriteFile(file, []byte("redis://u:two@h"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, password := c.current(); password != "two" {
		t.Fatalf("%q after rotation", password)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, password := c.current(); password != "two" {
		t.Fatalf("%q while the file is away", password)
	}
}

func TestOpenKinds(t *testing.T) {
	open := func(args ...string) *Redis {
		t.Helper()
		r, err := connection(t, args...).Open(OpenConfig{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = r.Close() })
		return r
	}
	if c, ok := open("--redis", "rediss://u:p@h:1/2").Client.(*redis.Client); !ok || c.Options().TLSConfig == nil || c.Options().DB != 2 {
		t.Errorf("single: %v", c)
	}
	if _, ok := open("--redis", "redis+cluster://h1:1").Client.(*redis.ClusterClient); !ok {
		t.Error("cluster: of one seed is no cluster client")
	}
	if _, ok := open("--redis", "redis+sentinel://h1:1,h2:2/m/0").Client.(*redis.Client); !ok {
		t.Error("sentinel: no failover client")
	}
	if _, err := connection(t, "--redis", "redis://h").Open(OpenConfig{Listen: "127.0.0.1:0"}); Code(err) != ExitUsage {
		t.Errorf("listen without embedded: %v", err)
	}
}

func TestOpenEmbedded(t *testing.T) {
	var notices bytes.Buffer
	r, err := connection(t, "--redis", "embedded").Open(OpenConfig{Listen: "127.0.0.1:0", Notices: &notices})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Client.Set(context.Background(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	_, url, ok := strings.Cut(notices.String(), "reach it at ")
	if !ok {
		t.Fatalf("notice %q", notices.String())
	}
	url, _, _ = strings.Cut(url, ",")
	other, err := connection(t, "--redis", url).Open(OpenConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if got, err := other.Client.Get(context.Background(), "k").Result(); got != "v" {
		t.Errorf("from another client: %q, %v", got, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	if err := r.Client.Ping(context.Background()).Err(); !errors.Is(err, redis.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}
