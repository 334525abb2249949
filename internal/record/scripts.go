package record

import (
	"embed"

	"github.com/gatherq/gatherq/internal/conn"
)

//go:embed lua/*.lua
var files embed.FS

// Fragment returns a part that scripts are put together from. Package group builds on the same parts.
func Fragment(name string) string {
	b, err := files.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic("record: no fragment " + name)
	}
	return string(b)
}

func script(name string, parts ...string) *conn.Script {
	return conn.NewScript(name, source(name, parts...)...)
}

// itemScript is a script whose function item takes args arguments.
func itemScript(name string, args int, parts ...string) *conn.Script {
	return conn.NewItemScript(name, args, source(name, parts...)...)
}

func source(name string, parts ...string) []string {
	return append(fragments(parts...), Fragment(name))
}

func fragments(parts ...string) []string {
	src := []string{Fragment("base"), Fragment("watchers"), Fragment("members"), Fragment("task")}
	for _, p := range parts {
		src = append(src, Fragment(p))
	}
	return src
}

// seldom is the source of a script that itself defines only what nearly every call of it needs, and calls fragments for the rest.
func seldom(name, fields string, parts ...string) []string {
	return append(fragments(parts...), conn.Within("fragments", fields, fragments(parts...)...), Fragment(name))
}

var (
	createScript   = itemScript("create", 15)
	admitScript    = createScript.Refusable()
	claimScript    = conn.NewItemScript("claim", 4, seldom("claim", "overdue = overdue, task_read = task_read", "crashes")...)
	beginScript    = script("begin")
	settleScript   = conn.NewItemScript("settle", 7, seldom("settle", "finish = finish, task_read = task_read, with_issued = with_issued", "tickets", "room")...)
	retryScript    = script("retry", "tickets", "room")
	givebackScript = script("giveback", "tickets", "room")
	cancelScript   = script("cancel")
	dueScript      = script("due", "tickets", "room", "apart")
	markScript     = script("mark")
	watchScript    = script("watch")
	flagsScript    = script("flags")
	linkScript     = itemScript("link", 4)
	infoScript     = script("info", "crashes")
	outboxScript   = script("outbox")
	toldScript     = script("told")
	sentScript     = script("sent", "apart")
	againScript    = script("again", "tickets", "waits")
	archivedScript = script("archived", "waits")
)

// Scripts are all scripts of this package, for the tests and for who must load or allow them.
func Scripts() []*conn.Script {
	return []*conn.Script{createScript, admitScript, claimScript, beginScript, settleScript, retryScript, givebackScript, cancelScript, dueScript, markScript,
		watchScript, flagsScript, linkScript, infoScript, outboxScript, toldScript, sentScript, againScript, archivedScript}
}
