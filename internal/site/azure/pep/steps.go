package pep

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"understudy/internal/site"
)

// Limits of the document about an update: a full one has some thousand steps, ten deep.
const (
	stepsDeep = 64
	stepsMost = 100_000
)

// Parse reads the document about an update. Its root is not documented, nor what lies between a step and its own steps:
// only elements named Step count, and where there is an error, the text of the first Message, ErrorMessage or Exception
// in it.
func Parse(document string) ([]site.Step, error) {
	d := xml.NewDecoder(strings.NewReader(strings.TrimPrefix(document, "\ufeff")))
	// A .NET string may say that it is UTF-16. It is not any more.
	d.CharsetReader = func(_ string, r io.Reader) (io.Reader, error) { return r, nil }
	type level struct {
		step  *site.Step
		names []string // of the elements in the step that are open
	}
	root := &site.Step{}
	stack := []level{{step: root}}
	total := 0
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return root.Steps, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read the steps of the update: %w", err)
		}
		top := &stack[len(stack)-1]
		switch t := token.(type) {
		case xml.StartElement:
			if t.Name.Local != "Step" {
				top.names = append(top.names, t.Name.Local)
				continue
			}
			if total++; total > stepsMost || len(stack) > stepsDeep {
				return nil, errors.New("read the steps of the update: there are too many")
			}
			s := step(t)
			stack = append(stack, level{step: &s})
		case xml.CharData:
			if text := strings.TrimSpace(string(t)); text != "" && len(stack) > 1 && top.step.Message == "" && isMessage(top.names) {
				top.step.Message = text
			}
		case xml.EndElement:
			if t.Name.Local != "Step" {
				top.names = top.names[:len(top.names)-1]
				continue
			}
			stack = stack[:len(stack)-1]
			parent := stack[len(stack)-1].step
			parent.Steps = append(parent.Steps, *top.step)
		}
	}
}

func step(e xml.StartElement) site.Step {
	var s site.Step
	for _, a := range e.Attr {
		switch a.Name.Local {
		case "Name":
			s.Name = a.Value
		case "Description":
			s.Description = a.Value
		case "Status":
			s.Status = a.Value
		case "StartTimeUtc":
			s.Started = utc(a.Value)
		case "EndTimeUtc":
			s.Ended = utc(a.Value)
		case "ErrorMessage":
			s.Message = a.Value
		case "FullStepIndex":
			s.Index = a.Value
		}
	}
	return s
}

// utc reads a time, which may come without a zone; the zero time when it is none.
func utc(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC()
		}
	}
	return time.Time{}
}

func isMessage(names []string) bool {
	for _, n := range names {
		switch n {
		case "Message", "ErrorMessage", "Exception":
			return true
		}
	}
	return false
}
