package group

import (
	"slices"
	"strings"
	"testing"

	lua "github.com/yuin/gopher-lua"
	"github.com/yuin/gopher-lua/parse"

	"github.com/gatherq/gatherq/internal/record"
)

// What a script is put together from defines all that it names: Redis would tell only when a call comes that far.
func TestScriptsDefineWhatTheyName(t *testing.T) {
	given := []string{"redis", "KEYS", "ARGV", "string", "table", "math", "tonumber", "tostring", "type", "unpack", "pairs", "ipairs", "next", "cjson", "pcall"}
	for _, s := range append(record.Scripts(), Scripts()...) {
		text := strings.Replace(s.Src, "#!lua", "--", 1) // the shebang is not Lua's
		chunk, err := parse.Parse(strings.NewReader(text), s.Name)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		proto, err := lua.Compile(chunk, s.Name)
		if err != nil {
			t.Errorf("%s: %v", s.Name, err)
			continue
		}
		for _, name := range globals(proto) {
			if !slices.Contains(given, name) {
				t.Errorf("%s names %s, which is nowhere defined", s.Name, name)
			}
		}
	}
}

// globals are the names that a function and those within it look up or set outside of themselves.
func globals(p *lua.FunctionProto) (names []string) {
	const opcode, constant = 26, 1<<18 - 1 // of an instruction: its first 6 bits, and its last 18
	for _, code := range p.Code {
		if op := int(code >> opcode); op == lua.OP_GETGLOBAL || op == lua.OP_SETGLOBAL {
			names = append(names, p.Constants[code&constant].String())
		}
	}
	for _, inner := range p.FunctionPrototypes {
		names = append(names, globals(inner)...)
	}
	return names
}
