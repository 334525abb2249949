package conn

import (
	"crypto/sha1" //nolint:gosec // EVALSHA names scripts by SHA-1
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/gatherq/gatherq/internal/keys"
)

// Script is a Lua script whose only key is a shard's prefix; keys.lua, which every script begins with, derives the others
// from it. Every Script may run twice with the same effect as once: a lost reply is answered by running it again.
type Script struct {
	Name  string
	Src   string
	sha   string
	items int // arguments of a call, of which one command may carry many; 0: each call is a command
}

// shebang lets a script write where Redis has reached its maxmemory: what is in Redis can only leave it when claims, settles and
// hand-overs go on (decision 18). It also lets Redis refuse a script as a whole, before its first command, where it may not write.
const shebang = "#!lua flags=allow-oom\n"

// NewScript puts keys.lua, the fragments and the script's own text together, without what none of it needs.
func NewScript(name string, parts ...string) *Script {
	return NewForeignScript(name, trim(keys.Lua+"\n"+strings.Join(parts, "\n")))
}

// NewItemScript is NewScript for one that does the same to any number of items: the text defines a function item, which is called
// with the args of each and returns its answer. Calls of such a script that leave together travel as one command, which spares
// Redis to begin the script anew for each.
func NewItemScript(name string, args int, parts ...string) *Script {
	loop := fmt.Sprintf("local answers = {}\nfor i = 1, #ARGV, %d do answers[#answers + 1] = item(unpack(ARGV, i, i + %d)) end\nreturn answers\n", args, args-1)
	s := NewScript(name, append(slices.Clone(parts), loop)...)
	s.items = args
	return s
}

// NewForeignScript takes a script of another library as it is; it bears its own keys.
func NewForeignScript(name, src string) *Script {
	s := &Script{Name: name}
	s.set(shebang + src)
	return s
}

// Refusable returns the script as one of those that create work: at its maxmemory Redis refuses it before its first write.
func (s *Script) Refusable() *Script {
	r := *s
	r.set(strings.TrimPrefix(s.Src, shebang))
	return &r
}

// SHA returns the name that Redis knows the script by.
func (s *Script) SHA() string { return s.sha }

func (s *Script) set(src string) {
	sum := sha1.Sum([]byte(src)) //nolint:gosec // EVALSHA names scripts by SHA-1
	s.Src, s.sha = src, hex.EncodeToString(sum[:])
}

// Call is one script with its arguments, one plain command, or an item of a joint one, on its way through a pipeline. After Do, Reply or Err is set.
type Call struct {
	Script *Script
	Keys   []string // of the script: the shard's prefix alone where it is ours
	Args   []any    // of the script; the whole command where Script is nil

	Joint  Joint // instead of Script, Keys and Args: makes a command of this call and those that leave together with it
	Item   any   // what this call stands for there
	Weight int   // of the call there; at least 1

	Confirm bool  // Do waits until this is as durable as the Conn's Policy says; Short says if it did in vain
	Ends    int   // outcomes that this writes: Do does not wait, what is not confirmed in time is counted (Stats.Short)
	Short   error // a *ShortError: this was answered, and not confirmed

	Reply any
	Err   error
	Again bool // it was sent more than once: what followed it in the pipeline may have been executed before it
	Try   int  // the one that was answered, from 0: of two calls of a pipeline that with the smaller one was executed first

	Joined *Call // the command that it travelled in, where Joint is set

	size int // in bytes, about
}

// NewCall returns the call of a script in the shard with that prefix.
func NewCall(s *Script, prefix string, args ...any) *Call {
	return &Call{Script: s, Keys: []string{prefix}, Args: args}
}

// NewCommand returns a plain command. It is sent again after a lost reply, so it must be idempotent.
func NewCommand(args ...any) *Call { return &Call{Args: args} }

// declared returns the keys that the command of a call names to Redis. In a cluster a script that derives its keys from a prefix names two keys,
// neither of which there ever is: while the slot moves from one master to another, the old one has some of the shard's keys and the new one
// the others, and a script would find things missing that are there, or write what is there already. Redis looks at the named keys only:
// it sends one that is not there to the new master, and that one answers TRYAGAIN to two of which one is not there. So our scripts wait
// until the slot has moved.
func (c *Call) declared(cluster bool) []string {
	if cluster && len(c.Keys) == 1 && strings.HasSuffix(c.Keys[0], ":") {
		return []string{c.Keys[0], c.Keys[0] + "~"}
	}
	return c.Keys
}

// measure notes about how many bytes a call is.
func (c *Call) measure() {
	c.size = callOverhead
	for _, a := range c.Args {
		switch v := a.(type) {
		case string:
			c.size += len(v)
		case []byte:
			c.size += len(v)
		}
		c.size += argOverhead
	}
}

// What a call and each of its arguments are counted for beside their bytes.
const (
	callOverhead = 64
	argOverhead  = 8
)
