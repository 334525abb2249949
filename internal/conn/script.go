package conn

import (
	"crypto/sha1" //nolint:gosec // EVALSHA names scripts by SHA-1
	"encoding/hex"
	"strings"

	"github.com/gatherq/gatherq/internal/keys"
)

// Script is a Lua script whose only key is a shard's prefix; keys.lua, which every script begins with, derives the others
// from it. Every Script may run twice with the same effect as once: a lost reply is answered by running it again.
type Script struct {
	Name string
	Src  string
	sha  string
}

// NewScript puts keys.lua, the fragments and the script's own text together.
func NewScript(name string, parts ...string) *Script {
	src := keys.Lua + "\n" + strings.Join(parts, "\n")
	sum := sha1.Sum([]byte(src)) //nolint:gosec // EVALSHA names scripts by SHA-1
	return &Script{Name: name, Src: src, sha: hex.EncodeToString(sum[:])}
}

// NewForeignScript takes a script of another library as it is; it bears its own keys.
func NewForeignScript(name, src string) *Script {
	sum := sha1.Sum([]byte(src)) //nolint:gosec // EVALSHA names scripts by SHA-1
	return &Script{Name: name, Src: src, sha: hex.EncodeToString(sum[:])}
}

// Call is one script with its arguments, or one plain command, on its way through a pipeline. After Do, Reply or Err is set.
type Call struct {
	Script *Script
	Keys   []string // of the script: the shard's prefix alone where it is ours
	Args   []any    // of the script; the whole command where Script is nil

	Reply any
	Err   error
	Again bool // it was sent more than once: what followed it in the pipeline may have been executed before it
}

// NewCall returns the call of a script in the shard with that prefix.
func NewCall(s *Script, prefix string, args ...any) *Call {
	return &Call{Script: s, Keys: []string{prefix}, Args: args}
}

// NewCommand returns a plain command. It is sent again after a lost reply, so it must be idempotent.
func NewCommand(args ...any) *Call { return &Call{Args: args} }

func (c *Call) args(whole bool) []any {
	if c.Script == nil {
		return c.Args
	}
	head := make([]any, 0, 3+len(c.Keys)+len(c.Args))
	if whole {
		head = append(head, "eval", c.Script.Src, len(c.Keys))
	} else {
		head = append(head, "evalsha", c.Script.sha, len(c.Keys))
	}
	for _, k := range c.Keys {
		head = append(head, k)
	}
	return append(head, c.Args...)
}
