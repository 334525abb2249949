package conn

import (
	"regexp"
	"strings"

	"github.com/gatherq/gatherq/internal/keys"
)

// Redis makes all functions of a script anew each time that it runs, 0.15 µs for each, so a script must not have those that it does
// not need. Fragments are put together whole, and what nobody names is cut.

var (
	definition = regexp.MustCompile(`^(?:local function (\w+)|local ([\w, ]+)|(\w+) = )`)
	word       = regexp.MustCompile(`\.{0,2}[A-Za-z_]\w*`) // with one dot it is a table's field, behind two a name again
)

// statement is a part of a script that begins at the start of a line: all that is indented belongs to it.
type statement struct {
	text  string
	names []string // that it defines; none: it is kept in any case
	kept  bool
}

// alone marks a function that needs nothing of what stands around it, see Within.
const alone = "() -- alone\n"

// name is the first that a statement defines.
func (s *statement) name() string {
	if len(s.names) == 0 {
		return ""
	}
	return s.names[0]
}

// trim cuts the definitions that nothing in the script names, directly or through others, and the comments. It reads no Lua: a definition
// begins with local or its name at the start of a line, and of what belongs to it only the line that ends it begins there, too.
func trim(src string) string {
	all := statements(src)
	defined := make(map[string][]*statement, len(all))
	var todo []*statement
	for _, s := range all {
		for _, name := range s.names {
			defined[name] = append(defined[name], s)
		}
		if s.kept = len(s.names) == 0; s.kept {
			todo = append(todo, s)
		}
	}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if strings.HasPrefix(s.text, "local function "+s.name()+alone) {
			continue
		}
		for _, name := range word.FindAllString(s.text, -1) {
			for _, d := range defined[strings.TrimPrefix(name, "..")] {
				if !d.kept {
					d.kept = true
					todo = append(todo, d)
				}
			}
		}
	}
	var b strings.Builder
	for _, s := range all {
		if s.kept {
			b.WriteString(s.text)
		}
	}
	return b.String()
}

func statements(src string) (all []*statement) {
	var open *statement
	for line := range strings.Lines(src) {
		switch text := strings.TrimSpace(line); {
		case text == "", strings.HasPrefix(text, "--"):
			continue
		case open != nil && (line[0] == ' ' || line[0] == '\t' || strings.HasPrefix(line, "end") || line[0] == '}' || line[0] == ')' ||
			strings.HasPrefix(line, "else") || strings.HasPrefix(line, "until")):
			open.text += line
			continue
		}
		open = &statement{text: line}
		all = append(all, open)
		if m := definition.FindStringSubmatch(line); m != nil {
			for name := range strings.SplitSeq(m[1]+m[2]+m[3], ",") {
				open.names = append(open.names, strings.TrimSpace(name))
			}
		}
	}
	return all
}

// Within puts fragments into a function that returns some of what they define, as a table's fields: what a script seldom needs, so
// that it is made only then. It stands on its own, the names of the keys are in it.
func Within(function, fields string, parts ...string) string {
	body := trim(keys.Lua + "\n" + strings.Join(parts, "\n") + "\nreturn {" + fields + "}\n")
	return "local function " + function + alone + "\t" + strings.ReplaceAll(strings.TrimSpace(body), "\n", "\n\t") + "\nend\n"
}
