package notify

import (
	"strings"
	"time"
)

// teamsText bounds texts, in characters, so that a message stays well below the 28 KB that Teams takes.
const teamsText = 3000

type teamsPayload struct {
	Type        string            `json:"type"`
	Attachments []teamsAttachment `json:"attachments"`
}

type teamsAttachment struct {
	ContentType string    `json:"contentType"`
	ContentURL  *string   `json:"contentUrl"` // null for a card that is in the message
	Content     teamsCard `json:"content"`
}

// teamsCard is an Adaptive Card: adaptivecards.io/explorer.
type teamsCard struct {
	Schema   string         `json:"$schema"`
	Type     string         `json:"type"`
	Version  string         `json:"version"`
	Fallback string         `json:"fallbackText"`
	Body     []teamsElement `json:"body"`
	Actions  []teamsAction  `json:"actions,omitempty"`
	Teams    teamsWidth     `json:"msteams"`
}

type teamsWidth struct {
	Width string `json:"width"`
}

type teamsElement struct {
	Type     string         `json:"type"` // Container, TextBlock or FactSet
	Style    string         `json:"style,omitempty"`
	Bleed    bool           `json:"bleed,omitempty"`
	Items    []teamsElement `json:"items,omitempty"`
	Text     string         `json:"text,omitempty"`
	Size     string         `json:"size,omitempty"`
	Weight   string         `json:"weight,omitempty"`
	FontType string         `json:"fontType,omitempty"`
	Subtle   bool           `json:"isSubtle,omitempty"`
	Wrap     bool           `json:"wrap,omitempty"`
	Facts    []teamsFact    `json:"facts,omitempty"`
}

type teamsFact struct {
	Title string `json:"title"`
	Value string `json:"value"`
}

type teamsAction struct {
	Type  string `json:"type"`
	Title string `json:"title"`
	URL   string `json:"url"`
}

// teamsEscape keeps text from being understood as Markdown, of which Teams knows a part, and makes its lines lines.
var teamsEscape = strings.NewReplacer(`\`, `\\`, "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "`", "\\`", "\n", "\n\n").Replace

// style is that of the head of a card: how bad it is, and green for what is well again.
func (e Event) style() string {
	switch {
	case e.Kind == Resolved || e.Kind == Success:
		return "good"
	case e.Severity == Critical:
		return "attention"
	case e.Severity == Warning:
		return "warning"
	}
	return "accent"
}

// teamsMessage is an event as the webhook of a workflow of Teams takes it: a message with one Adaptive Card.
func teamsMessage(e Event) teamsPayload {
	text := func(s string) teamsElement {
		return teamsElement{Type: "TextBlock", Text: teamsEscape(clip(s, teamsText)), Wrap: true}
	}
	title := text(e.Title())
	title.Size, title.Weight = "Medium", "Bolder"
	body := []teamsElement{{Type: "Container", Style: e.style(), Bleed: true, Items: []teamsElement{title}}}
	if e.Text != "" {
		body = append(body, text(e.Text))
	}
	var facts []teamsFact
	for _, f := range e.facts() {
		facts = append(facts, teamsFact{f[0], teamsEscape(clip(f[1], teamsText/10))})
	}
	if len(facts) > 0 {
		body = append(body, teamsElement{Type: "FactSet", Facts: facts})
	}
	if len(e.Next) > 0 {
		head, commands := text("What to do"), text(strings.Join(e.Next, "\n"))
		head.Weight, commands.FontType = "Bolder", "Monospace"
		body = append(body, head, commands)
	}
	foot := text(e.Source + ", " + e.Time.UTC().Format(time.RFC3339) + ", " + e.ID)
	foot.Size, foot.Subtle = "Small", true
	card := teamsCard{Schema: "http://adaptivecards.io/schemas/adaptive-card.json", Type: "AdaptiveCard", Version: "1.4", Fallback: clip(e.Title(), teamsText/10),
		Body: append(body, foot), Teams: teamsWidth{"Full"}}
	if e.Link != "" {
		card.Actions = []teamsAction{{"Action.OpenUrl", "Open the console", e.Link}}
	}
	return teamsPayload{Type: "message", Attachments: []teamsAttachment{{ContentType: "application/vnd.microsoft.card.adaptive", Content: card}}}
}
