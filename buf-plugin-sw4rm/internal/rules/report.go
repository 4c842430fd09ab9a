package rules

import (
	"fmt"
	"strings"
	"unicode"

	"buf.build/go/bufplugin/check"
)

// finding is one remark. Its text reads on after the subject, and ends with the remedy.
type finding struct {
	subject, text string
	// at is in the schema, before in the one it is compared with.
	at, before place
}

// report puts findings together that say the same of several subjects at one place, as those about a default of a file
// do.
type report struct {
	order  []string
	groups map[string]*group
}

type group struct {
	finding
	more int
}

func newReport() *report { return &report{groups: make(map[string]*group)} }

func (r *report) add(f finding) {
	id := strings.Join([]string{f.at.id(), f.before.id(), f.text}, "\x00")
	if g, ok := r.groups[id]; ok {
		if f.subject != g.subject {
			g.more++
		}
		return
	}
	r.order = append(r.order, id)
	r.groups[id] = &group{finding: f}
}

func (r *report) write(w check.ResponseWriter) {
	for _, id := range r.order {
		g := r.groups[id]
		text := g.text
		switch {
		case g.subject == "":
		case g.more > 0:
			text = fmt.Sprintf("%s and %d more: %s", g.subject, g.more, text)
		default:
			text = g.subject + ": " + text
		}
		options := []check.AddAnnotationOption{check.WithMessage(oneLine(text))}
		switch {
		case g.at.file == nil:
		case len(g.at.path) == 0:
			options = append(options, check.WithFileName(g.at.file.path()))
		default:
			options = append(options, check.WithFileNameAndSourcePath(g.at.file.path(), g.at.path))
		}
		switch {
		case g.before.file == nil:
		case len(g.before.path) == 0:
			options = append(options, check.WithAgainstFileName(g.before.file.path()))
		default:
			options = append(options, check.WithAgainstFileNameAndSourcePath(g.before.file.path(), g.before.path))
		}
		w.AddAnnotation(options...)
	}
}

func (p place) id() string {
	if p.file == nil {
		return ""
	}
	return p.file.path() + "\x00" + key(p.path)
}

// oneLine keeps what a schema contains from breaking a line or hiding text in it.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
}
