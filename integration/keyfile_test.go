package integration

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// A key file is what a Redis holds, as the commands that write it: a line each, the words as redis-cli reads them, keys in order.

// quoted writes a word so that redis-cli and strconv.Unquote read the same.
func quoted(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range []byte(s) {
		switch {
		case c == '"' || c == '\\':
			b.Write([]byte{'\\', c})
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

// words reads a line of such words.
func words(t *testing.T, line string) (out []string) {
	t.Helper()
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimLeft(line, " ") {
		word, err := strconv.QuotedPrefix(line)
		if err != nil {
			t.Fatalf("not a quoted word: %.80s", line)
		}
		plain, err := strconv.Unquote(word)
		if err != nil {
			t.Fatalf("%v: %.80s", err, word)
		}
		out, line = append(out, plain), line[len(word):]
	}
	return out
}

// writeKeys writes all keys but those of asynq's own processes and what programs have counted into a file.
func writeKeys(t *testing.T, rdb *redis.Client, path string) {
	t.Helper()
	ctx := t.Context()
	var b strings.Builder
	line := func(command ...string) {
		for i, w := range command {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(quoted(w))
		}
		b.WriteByte('\n')
	}
	names := allKeys(t, rdb)
	slices.Sort(names)
	for _, key := range names {
		if strings.HasPrefix(key, "asynq:servers") || strings.HasPrefix(key, "asynq:workers") || strings.HasPrefix(key, "sim:") {
			continue
		}
		command, err := writes(ctx, rdb, key)
		if err != nil {
			t.Fatalf("%s: %v", key, err)
		}
		line(command...)
		if ttl := rdb.PTTL(ctx, key).Val(); ttl > 0 {
			line("PEXPIRE", key, strconv.FormatInt(ttl.Milliseconds(), 10))
		}
	}
	if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// writes returns the command that writes a key as it is.
func writes(ctx context.Context, rdb *redis.Client, key string) ([]string, error) {
	kind, err := rdb.Type(ctx, key).Result()
	if err != nil {
		return nil, err
	}
	switch kind {
	case "string":
		v, err := rdb.Get(ctx, key).Result()
		return []string{"SET", key, v}, err
	case "hash":
		m, err := rdb.HGetAll(ctx, key).Result()
		out := []string{"HSET", key}
		for _, field := range slices.Sorted(func(yield func(string) bool) {
			for f := range m {
				if !yield(f) {
					return
				}
			}
		}) {
			out = append(out, field, m[field])
		}
		return out, err
	case "list":
		v, err := rdb.LRange(ctx, key, 0, -1).Result()
		return append([]string{"RPUSH", key}, v...), err
	case "set":
		v, err := rdb.SMembers(ctx, key).Result()
		slices.Sort(v)
		return append([]string{"SADD", key}, v...), err
	case "zset":
		v, err := rdb.ZRangeWithScores(ctx, key, 0, -1).Result()
		out := []string{"ZADD", key}
		for _, z := range v {
			out = append(out, strconv.FormatFloat(z.Score, 'f', -1, 64), z.Member.(string))
		}
		return out, err
	}
	return nil, fmt.Errorf("a key of type %s", kind)
}

// loadKeys runs the commands of a key file.
func loadKeys(t *testing.T, rdb *redis.Client, path string) {
	t.Helper()
	for _, line := range fileLines(t, path) {
		var command []any
		for _, w := range words(t, line) {
			command = append(command, w)
		}
		if err := rdb.Do(t.Context(), command...).Err(); err != nil {
			t.Fatalf("%.200s: %v", line, err)
		}
	}
}

// fileLines returns the lines of a file.
func fileLines(t *testing.T, path string) (lines []string) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for in := bufio.NewReader(f); ; {
		line, err := in.ReadString('\n')
		if line != "" {
			lines = append(lines, line)
		}
		if err != nil {
			return lines
		}
	}
}
