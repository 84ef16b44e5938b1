package notify

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

// sent is what a channel of a kind sends of an event, as the receiver reads it.
func sent(t *testing.T, kind string, e Event) map[string]any {
	t.Helper()
	var got map[string]any
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if err := json.Unmarshal(body, &got); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	if err := sender().Send(t.Context(), Channel{Name: "c", Kind: kind, URL: server.URL}, e); err != nil {
		t.Fatal(err)
	}
	return got
}

// only fails when an object has a field that its documentation does not have, or lacks one that it needs.
func only(t *testing.T, what string, v any, needed, other string) map[string]any {
	t.Helper()
	m, ok := v.(map[string]any)
	if !ok {
		t.Fatalf("%s: %v is no object", what, v)
	}
	for _, f := range strings.Fields(needed) {
		if _, ok := m[f]; !ok {
			t.Errorf("%s: no %s in %v", what, f, m)
		}
	}
	for f := range m {
		if !slices.Contains(strings.Fields(needed+" "+other), f) {
			t.Errorf("%s: it has no field %s", what, f)
		}
	}
	return m
}

func list(t *testing.T, what string, v any, least, most int) []any {
	t.Helper()
	l, ok := v.([]any)
	if !ok || len(l) < least || len(l) > most {
		t.Fatalf("%s: %v is no list of %d to %d", what, v, least, most)
	}
	return l
}

func short(t *testing.T, what string, v any, most int) string {
	t.Helper()
	s, ok := v.(string)
	if !ok || s == "" || len([]rune(s)) > most {
		t.Fatalf("%s: %v is no text of 1 to %d characters", what, v, most)
	}
	return s
}

// slackText checks a text object: docs.slack.dev/reference/block-kit/composition-objects/text-object.
func checkSlackText(t *testing.T, what string, v any, most int) string {
	t.Helper()
	m := only(t, what, v, "type text", "emoji verbatim")
	if m["type"] != "mrkdwn" && m["type"] != "plain_text" {
		t.Errorf("%s: %v", what, m)
	}
	return short(t, what, m["text"], most)
}

// checkSlack checks a message field by field: docs.slack.dev/messaging/sending-messages-using-incoming-webhooks,
// .../reference/messaging/attachments and .../reference/block-kit/blocks. It returns all text of it.
func checkSlack(t *testing.T, v map[string]any) string {
	t.Helper()
	var text strings.Builder
	only(t, "message", v, "text attachments", "blocks")
	text.WriteString(short(t, "text", v["text"], 4000) + "\n")
	a := only(t, "attachment", list(t, "attachments", v["attachments"], 1, 1)[0], "color blocks", "fallback")
	if c := short(t, "color", a["color"], 7); c[0] != '#' || len(c) != 7 {
		t.Errorf("color %q", c)
	}
	for _, b := range list(t, "blocks", a["blocks"], 1, 50) {
		switch block := b.(map[string]any); block["type"] {
		case "section":
			only(t, "section", b, "type", "text fields accessory block_id expand")
			if block["text"] == nil && block["fields"] == nil {
				t.Errorf("a section of nothing")
			}
			if block["text"] != nil {
				text.WriteString(checkSlackText(t, "section", block["text"], 3000) + "\n")
			}
			if block["fields"] != nil {
				for _, f := range list(t, "fields", block["fields"], 1, 10) {
					text.WriteString(checkSlackText(t, "field", f, 2000) + "\n")
				}
			}
		case "actions":
			only(t, "actions", b, "type elements", "block_id")
			for _, e := range list(t, "elements", block["elements"], 1, 25) {
				button := only(t, "button", e, "type text", "action_id url value style confirm accessibility_label")
				if button["type"] != "button" || button["text"].(map[string]any)["type"] != "plain_text" {
					t.Errorf("button %v", button)
				}
				checkSlackText(t, "button", button["text"], 75)
				text.WriteString(short(t, "url", button["url"], 3000) + "\n")
			}
		case "context":
			only(t, "context", b, "type elements", "block_id")
			for _, e := range list(t, "elements", block["elements"], 1, 10) {
				text.WriteString(checkSlackText(t, "context", e, 3000) + "\n")
			}
		default:
			t.Errorf("block %v", b)
		}
	}
	return text.String()
}

// checkTeams checks a message field by field: learn.microsoft.com, "Send Adaptive Cards using an Incoming Webhook", and
// adaptivecards.io/explorer. It returns all text of it.
func checkTeams(t *testing.T, v map[string]any) string {
	t.Helper()
	only(t, "message", v, "type attachments", "")
	a := only(t, "attachment", list(t, "attachments", v["attachments"], 1, 1)[0], "contentType contentUrl content", "")
	if v["type"] != "message" || a["contentType"] != "application/vnd.microsoft.card.adaptive" || a["contentUrl"] != nil {
		t.Errorf("message %v", v)
	}
	card := only(t, "card", a["content"], "$schema type version body", "actions fallbackText msteams")
	if card["type"] != "AdaptiveCard" || card["version"] != "1.4" || card["$schema"] != "http://adaptivecards.io/schemas/adaptive-card.json" {
		t.Errorf("card %v", card)
	}
	if w := only(t, "msteams", card["msteams"], "width", ""); w["width"] != "Full" {
		t.Errorf("width %v", w)
	}
	var text strings.Builder
	var element func(e any)
	element = func(e any) {
		switch m := e.(map[string]any); m["type"] {
		case "TextBlock":
			only(t, "text block", e, "type text", "color fontType isSubtle maxLines size weight wrap horizontalAlignment")
			for field, values := range map[string]string{"fontType": "Default Monospace", "size": "Default Small Medium Large ExtraLarge", "weight": "Default Lighter Bolder"} {
				if v, ok := m[field]; ok && !slices.Contains(strings.Fields(values), v.(string)) {
					t.Errorf("%s %v", field, v)
				}
			}
			if m["wrap"] != true {
				t.Error("a text that is cut off")
			}
			text.WriteString(short(t, "text", m["text"], 20000) + "\n")
		case "FactSet":
			only(t, "facts", e, "type facts", "")
			for _, f := range list(t, "facts", m["facts"], 1, 20) {
				fact := only(t, "fact", f, "title value", "")
				text.WriteString(short(t, "title", fact["title"], 100) + " " + short(t, "value", fact["value"], 1000) + "\n")
			}
		case "Container":
			only(t, "container", e, "type items", "style bleed verticalContentAlignment")
			if !slices.Contains(strings.Fields("default emphasis good attention warning accent"), m["style"].(string)) {
				t.Errorf("style %v", m["style"])
			}
			for _, i := range list(t, "items", m["items"], 1, 20) {
				element(i)
			}
		default:
			t.Errorf("element %v", e)
		}
	}
	for _, e := range list(t, "body", card["body"], 1, 20) {
		element(e)
	}
	if card["actions"] != nil {
		for _, x := range list(t, "actions", card["actions"], 1, 6) {
			action := only(t, "action", x, "type title url", "")
			if action["type"] != "Action.OpenUrl" {
				t.Errorf("action %v", action)
			}
			text.WriteString(short(t, "url", action["url"], 2000) + "\n")
		}
	}
	if data, err := json.Marshal(v); err != nil || len(data) > 28<<10 {
		t.Errorf("%d bytes, more than Teams takes", len(data))
	}
	return text.String()
}

// TestCards: what Slack and Teams get is shaped as they document, and holds what a person needs, however long it is.
func TestCards(t *testing.T) {
	long := event
	long.Text, long.Subject, long.Loss = strings.Repeat("<&>", 9000), strings.Repeat("x&", 200), strings.Repeat("é", 3000)
	for range 400 {
		long.Next = append(long.Next, "understudy status shop")
	}
	bare := Event{ID: "test-1", Time: time.Unix(1700000000, 0), Source: "understudy notify test", Kind: Information, Subject: "A test"}
	for _, e := range []Event{event, long, bare} {
		slack, teams := checkSlack(t, sent(t, Slack, e)), checkTeams(t, sent(t, Teams, e))
		if e.ID == bare.ID {
			continue
		}
		for _, want := range []string{"understudy status shop", "https://console.example/groups/shop", e.ID, "still critical"} {
			if !strings.Contains(slack, want) || !strings.Contains(strings.ReplaceAll(teams, `\`, ""), want) {
				t.Errorf("%q is in %v", want, fmt.Sprint(strings.Contains(slack, want), strings.Contains(teams, want)))
			}
		}
	}
	slack, teams := checkSlack(t, sent(t, Slack, event)), checkTeams(t, sent(t, Teams, event))
	if !strings.Contains(slack, "&lt;no space&gt;") || !strings.Contains(slack, "2h &amp; more") || strings.Contains(slack, "\nBcc") {
		t.Errorf("Slack: %s", slack)
	}
	if !strings.Contains(teams, `\*vault\*`) || !strings.Contains(teams, "Would be lost 2h") {
		t.Errorf("Teams: %s", teams)
	}
}

func TestColors(t *testing.T) {
	for _, tt := range []struct {
		kind     Kind
		severity Severity
		repeat   int
		color    string
		style    string
		title    string
	}{
		{Problem, Critical, 0, "#C62828", "attention", "[critical] x"},
		{Problem, Critical, 2, "#C62828", "attention", "[still critical] x"},
		{Failure, Warning, 0, "#EF6C00", "warning", "[warning] x"},
		{Resolved, Critical, 0, "#2E7D32", "good", "[resolved] x"},
		{Success, Info, 0, "#2E7D32", "good", "[success] x"},
		{Information, Info, 0, "#1565C0", "accent", "[information] x"},
		{Information, "", 0, "#1565C0", "accent", "[information] x"},
	} {
		e := Event{Kind: tt.kind, Severity: tt.severity, Repeat: tt.repeat, Subject: "x"}
		if e.color() != tt.color || e.style() != tt.style || e.Title() != tt.title {
			t.Errorf("%+v: %s %s %s", tt, e.color(), e.style(), e.Title())
		}
	}
}
