// Package out is how commands speak: results on standard output as a table, JSON, YAML or names, messages and progress
// on standard error, and errors as one line with a hint and an exit code.
package out

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/mattn/go-isatty"

	"understudy/internal/dr"
)

// Format is how results are written.
type Format string

// Formats.
const (
	Table Format = "table"
	JSON  Format = "json"
	YAML  Format = "yaml"
	Name  Format = "name"
)

// Set implements pflag.Value.
func (f *Format) Set(s string) error {
	switch Format(s) {
	case Table, JSON, YAML, Name:
		*f = Format(s)
		return nil
	}
	return fmt.Errorf("%q is no output format: use table, json, yaml or name", s)
}

// String implements pflag.Value.
func (f *Format) String() string { return string(*f) }

// Type implements pflag.Value.
func (f *Format) Type() string { return "format" }

// A Printer writes results and messages. Its methods are for one goroutine at a time.
type Printer struct {
	Out    io.Writer // results
	Err    io.Writer // messages
	Format Format
	Quiet  bool // no progress and no notes

	OutTTY bool // Out is a terminal
	ErrTTY bool // Err is a terminal
	Color  bool
}

// NewPrinter returns a printer on the process's streams. Colour and moving progress are used on terminals only, and
// colour never when NO_COLOR is set.
func NewPrinter() *Printer {
	tty := func(f *os.File) bool { return isatty.IsTerminal(f.Fd()) && os.Getenv("TERM") != "dumb" }
	p := &Printer{Out: os.Stdout, Err: os.Stderr, Format: Table, OutTTY: tty(os.Stdout), ErrTTY: tty(os.Stderr)}
	p.Color = p.OutTTY && os.Getenv("NO_COLOR") == ""
	return p
}

// Human reports whether results are written for people.
func (p *Printer) Human() bool { return p.Format == Table || p.Format == "" }

// Note writes a message for people on standard error.
func (p *Printer) Note(format string, args ...any) {
	if !p.Quiet {
		fmt.Fprintf(p.Err, format+"\n", args...)
	}
}

// Line writes a line of a result for people; nothing in the other formats.
func (p *Printer) Line(format string, args ...any) {
	if p.Human() {
		fmt.Fprintf(p.Out, format+"\n", args...)
	}
}

// A Column is one column of a table of T.
type Column[T any] struct {
	Title string
	Text  func(T) string
	Right bool              // align to the right
	Style func(T) StyleName // how the text looks on a terminal; may be nil
}

// Col is a column of plain text.
func Col[T any](title string, text func(T) string) Column[T] {
	return Column[T]{Title: title, Text: text}
}

// Num is a column of numbers, aligned to the right.
func Num[T any](title string, text func(T) string) Column[T] {
	return Column[T]{Title: title, Text: text, Right: true}
}

// List writes items in the printer's format: a JSON or YAML array of objects, one name a line, or a table.
// A table without rows is the line empty, on standard error.
func List[T any](p *Printer, items []T, name func(T) string, empty string, cols ...Column[T]) error {
	switch p.Format {
	case JSON, YAML:
		if items == nil {
			items = []T{}
		}
		return p.encode(items)
	case Name:
		for _, it := range items {
			fmt.Fprintln(p.Out, name(it))
		}
		return nil
	}
	if len(items) == 0 {
		p.Note("%s", empty)
		return nil
	}
	cells := make([][]string, 0, len(items)+1)
	head := make([]string, len(cols))
	width := make([]int, len(cols))
	for i, c := range cols {
		head[i] = c.Title
	}
	cells = append(cells, head)
	for _, it := range items {
		row := make([]string, len(cols))
		for i, c := range cols {
			if row[i] = oneLine(c.Text(it)); row[i] == "" {
				row[i] = "-"
			}
		}
		cells = append(cells, row)
	}
	for _, row := range cells {
		for i, s := range row {
			width[i] = max(width[i], utf8.RuneCountInString(s))
		}
	}
	for n, row := range cells {
		var b strings.Builder
		for i, s := range row {
			pad := strings.Repeat(" ", width[i]-utf8.RuneCountInString(s))
			text := s
			if n == 0 {
				text = p.Styled(Bold, s)
			} else if cols[i].Style != nil {
				text = p.Styled(cols[i].Style(items[n-1]), s)
			}
			if i > 0 {
				b.WriteString("  ")
			}
			switch {
			case cols[i].Right:
				b.WriteString(pad + text)
			case i == len(row)-1:
				b.WriteString(text)
			default:
				b.WriteString(text + pad)
			}
		}
		if _, err := fmt.Fprintln(p.Out, b.String()); err != nil {
			return err
		}
	}
	return nil
}

// A Field is one line of a description.
type Field struct {
	Title string
	Text  string
}

// One writes one thing: a JSON or YAML object, its name, or its fields. Fields without text are left out.
func One(p *Printer, item any, name string, fields ...Field) error {
	switch p.Format {
	case JSON, YAML:
		return p.encode(item)
	case Name:
		_, err := fmt.Fprintln(p.Out, name)
		return err
	}
	width := 0
	for _, f := range fields {
		if f.Text != "" {
			width = max(width, utf8.RuneCountInString(f.Title))
		}
	}
	for _, f := range fields {
		if f.Text == "" {
			continue
		}
		pad := strings.Repeat(" ", width-utf8.RuneCountInString(f.Title))
		if _, err := fmt.Fprintf(p.Out, "%s%s  %s\n", p.Styled(Bold, f.Title), pad, f.Text); err != nil {
			return err
		}
	}
	return nil
}

// Event writes one object of a stream, as a line of JSON; nothing in the other formats.
func (p *Printer) Event(v any) error {
	if p.Format != JSON {
		return nil
	}
	return json.NewEncoder(p.Out).Encode(v)
}

func (p *Printer) encode(v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	if p.Format == YAML {
		// By way of JSON, so that both formats have the same names and the same text.
		data, err = yaml.JSONToYAML(data)
		if err != nil {
			return err
		}
		_, err = p.Out.Write(data)
		return err
	}
	_, err = fmt.Fprintf(p.Out, "%s\n", data)
	return err
}

// StyleName says how a piece of text looks on a terminal.
type StyleName string

// Styles.
const (
	Plain StyleName = ""
	Bold  StyleName = "1"
	Dim   StyleName = "2"
	Good  StyleName = "32"
	Warn  StyleName = "33"
	Bad   StyleName = "31"
)

// Styled returns s in a style, or s itself where there is no colour.
func (p *Printer) Styled(style StyleName, s string) string {
	if !p.Color || style == Plain || s == "" {
		return s
	}
	return "\x1b[" + string(style) + "m" + s + "\x1b[0m"
}

// Fail writes an error for people on standard error, with its hint, and returns the exit code for it.
func (p *Printer) Fail(err error) int {
	code := ExitCode(err)
	if code == ExitInterrupted {
		fmt.Fprintln(p.Err, "understudy: interrupted")
	} else {
		fmt.Fprintf(p.Err, "understudy: %v\n", err)
	}
	if hint := dr.Hint(err); hint != "" {
		fmt.Fprintf(p.Err, "hint: %s\n", hint)
	}
	return code
}

func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s)
}
