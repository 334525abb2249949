// Package group is the truth about gathers: staging, tickets, ranges, the two events.
//
// A group's members have no records: their arguments lie packed in segments, their outcomes packed in settled ranges, and a map
// with four bytes a member says where. Workers claim ranges from a cursor through tickets. Only a member that leaves its range
// (a retry, a time or queue of its own) gets a record, and its outcome comes back into the group.
package group

import (
	"embed"
	"sync"

	"github.com/gatherq/gatherq/internal/conn"
	"github.com/gatherq/gatherq/internal/keys"
	"github.com/gatherq/gatherq/internal/record"
)

//go:embed lua/*.lua
var files embed.FS

func text(name string) string {
	b, err := files.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic("group: no script " + name)
	}
	return string(b)
}

func script(name string, parts ...string) *conn.Script {
	return conn.NewScript("group."+name, append(fragments(parts...), text(name))...)
}

// itemScript is a script whose function item takes args arguments.
func itemScript(name string, args int, parts ...string) *conn.Script {
	return conn.NewItemScript("group."+name, args, append(fragments(parts...), text(name))...)
}

func fragments(parts ...string) []string {
	src := []string{record.Fragment("base"), record.Fragment("watchers"), record.Fragment("members"), record.Fragment("task")}
	for _, p := range parts {
		switch p {
		case "tickets", "room", "crashes":
			src = append(src, record.Fragment(p))
		default:
			src = append(src, text(p))
		}
	}
	return src
}

var (
	stageScript        = conn.NewScript("group.stage", text("stage")).Refusable()
	commitScript       = script("commit", "tickets").Refusable()
	nextScript         = conn.NewItemScript("group.next", 17, conn.Within("fragments", "settle = settle_range, pull = pull, with_issued = with_issued, make_room = make_room, room = room, now_ms = now_ms", fragments("tickets", "room", "take", "range", "crashes", "pull")...), text("next"))
	settleScript       = itemScript("settle", 10, "tickets", "room", "take", "range")
	leaveScript        = script("leave", "tickets", "room", "take")
	aloneScript        = script("alone")
	returnScript       = script("return", "tickets", "room", "take", "back")
	passScript         = script("pass", "tickets", "take", "back")
	sweepScript        = script("sweep", "tickets", "take")
	cancelScript       = script("cancel")
	cancelMemberScript = script("cancelmember")
	bindScript         = script("bind")
	boundScript        = script("bound", "tickets")
	linkedScript       = script("linked")
	whereScript        = script("where")
	flagsScript        = script("flags", "take")
	reapScript         = script("reap", "tickets", "room", "take", "back", "crashes")
	reviveScript       = script("revive", "crashes")
	ticketScript       = script("ticket", "tickets", "take")
)

// Scripts are all scripts of this package.
func Scripts() []*conn.Script {
	return []*conn.Script{stageScript, commitScript, nextScript, settleScript, leaveScript, aloneScript, returnScript, passScript, sweepScript,
		cancelScript, cancelMemberScript, bindScript, boundScript, linkedScript, whereScript, flagsScript, reapScript, reviveScript, ticketScript}
}

// Store reads and changes groups. It is safe for concurrent use.
type Store struct {
	conn    *conn.Conn
	keys    keys.Space
	records *record.Store

	mu       sync.Mutex
	segments map[string]*segment // the last one read of each group whose tickets this process holds, by nonce
}

// NewStore returns the groups of the records' namespace.
func NewStore(records *record.Store) *Store {
	return &Store{conn: records.Conn(), keys: records.Keys(), records: records, segments: map[string]*segment{}}
}
