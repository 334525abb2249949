package tasks

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

var (
	templateName    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	placeholderName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)
)

// Template is a program that exec may run, with places for a task's arguments.
type Template struct {
	Name string
	Path string

	args   [][]part
	places map[string]bool
}

// part is a piece of one argument: literal text, or the name of what stands there.
type part struct {
	text string
	name string
}

// ParseTemplate reads "name=/path --flag {in} {out}": an absolute path and its arguments, separated by blanks. Quotes, single
// or double, hold an argument with blanks together; no shell ever sees any of it. {x} is the place of the task's argument x,
// as a whole argument or within one; {{ and }} are braces. The path has no places.
func ParseTemplate(s string) (*Template, error) {
	name, command, ok := strings.Cut(s, "=")
	if !ok {
		return nil, errors.New(`has no "=": it is name=/path arguments`)
	}
	if !templateName.MatchString(name) {
		return nil, fmt.Errorf("name %q: must match %s", name, templateName)
	}
	words, err := splitWords(command)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(words) == 0 || !filepath.IsAbs(words[0]) {
		return nil, fmt.Errorf("%s: the program must be an absolute path", name)
	}
	if strings.ContainsAny(words[0], "{}\x00") {
		return nil, fmt.Errorf("%s: the program's path may not have places", name)
	}
	t := &Template{Name: name, Path: words[0], places: map[string]bool{}}
	for _, word := range words[1:] {
		parts, err := splitPlaces(word)
		if err != nil {
			return nil, fmt.Errorf("%s: argument %q: %w", name, word, err)
		}
		for _, p := range parts {
			if p.name != "" {
				t.places[p.name] = true
			}
		}
		t.args = append(t.args, parts)
	}
	return t, nil
}

// Places returns the names of the places, sorted.
func (t *Template) Places() []string { return slices.Sorted(maps.Keys(t.places)) }

// Fill returns the arguments of the program. There must be a value for each place and no other. A value that begins an
// argument may not begin with "-", or the task could set options that the template does not; behind an argument "--" it may.
func (t *Template) Fill(values map[string]string) ([]string, error) {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if !t.places[name] {
			return nil, fmt.Errorf("args has %q, which %s has no place for (it has %s)", name, t.Name, t.listed())
		}
		if strings.ContainsRune(values[name], 0) {
			return nil, fmt.Errorf("args %q holds a NUL byte", name)
		}
	}
	for _, name := range t.Places() {
		if _, ok := values[name]; !ok {
			return nil, fmt.Errorf("args has no %q, which %s needs", name, t.Name)
		}
	}
	args := make([]string, 0, len(t.args))
	literal := false // behind "--"
	for _, parts := range t.args {
		var b strings.Builder
		for i, p := range parts {
			value := p.text
			if p.name != "" {
				value = values[p.name]
				if i == 0 && !literal && strings.HasPrefix(value, "-") {
					return nil, fmt.Errorf(`args %q begins with "-": it would be an option of %s`, p.name, t.Name)
				}
			}
			b.WriteString(value)
		}
		arg := b.String()
		if arg == "--" && len(parts) == 1 && parts[0].name == "" {
			literal = true
		}
		args = append(args, arg)
	}
	return args, nil
}

func (t *Template) listed() string {
	if len(t.places) == 0 {
		return "none"
	}
	return strings.Join(t.Places(), ", ")
}

// splitWords splits at blanks; quotes hold a word together and are dropped.
func splitWords(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	var quote rune
	inWord := false
	for _, r := range s {
		switch {
		case r == 0:
			return nil, errors.New("holds a NUL byte")
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case strings.ContainsRune(" \t\r\n", r):
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("a %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// splitPlaces splits an argument into its literal pieces and its places. An empty argument has one empty piece.
func splitPlaces(s string) ([]part, error) {
	var parts []part
	var text strings.Builder
	for len(s) > 0 {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			text.WriteString(s)
			break
		}
		text.WriteString(s[:i])
		brace := s[i]
		s = s[i+1:]
		if strings.HasPrefix(s, string(brace)) {
			text.WriteByte(brace)
			s = s[1:]
			continue
		}
		if brace == '}' {
			return nil, errors.New("a } has no {; a brace is written }}")
		}
		name, rest, ok := strings.Cut(s, "}")
		if !ok {
			return nil, errors.New("a { has no }; a brace is written {{")
		}
		if !placeholderName.MatchString(name) {
			return nil, fmt.Errorf("place %q: must match %s", name, placeholderName)
		}
		if text.Len() > 0 {
			parts = append(parts, part{text: text.String()})
			text.Reset()
		}
		parts = append(parts, part{name: name})
		s = rest
	}
	if text.Len() > 0 || len(parts) == 0 {
		parts = append(parts, part{text: text.String()})
	}
	return parts, nil
}
