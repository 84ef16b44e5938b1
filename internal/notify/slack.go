package notify

import (
	"slices"
	"strings"
	"time"
)

// Limits of Slack, in characters: docs.slack.dev/reference/block-kit/blocks.
const (
	slackSection = 3000
	slackField   = 2000
	slackFields  = 10
)

type slackText struct {
	Type string `json:"type"` // mrkdwn or plain_text
	Text string `json:"text"`
}

type slackButton struct {
	Type string    `json:"type"`
	Text slackText `json:"text"`
	URL  string    `json:"url"`
}

type slackBlock struct {
	Type     string      `json:"type"` // section, actions or context
	Text     *slackText  `json:"text,omitempty"`
	Fields   []slackText `json:"fields,omitempty"`
	Elements []any       `json:"elements,omitempty"`
}

// slackAttachment is what gives a message its colour: blocks alone have none.
type slackAttachment struct {
	Color    string       `json:"color"`
	Fallback string       `json:"fallback"`
	Blocks   []slackBlock `json:"blocks"`
}

type slackPayload struct {
	Text        string            `json:"text"` // the first line, and all that a phone's lock screen shows
	Attachments []slackAttachment `json:"attachments"`
}

// slackEscape keeps text from being understood as a link or a mention: docs.slack.dev/messaging/formatting-message-text.
var slackEscape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace

func mrkdwn(text string) slackText { return slackText{"mrkdwn", text} }

func section(text string) slackBlock {
	t := mrkdwn(text)
	return slackBlock{Type: "section", Text: &t}
}

// slackMessage is an event as an incoming webhook of Slack takes it.
func slackMessage(e Event) slackPayload {
	title := slackEscape(e.Title())
	var blocks []slackBlock
	if e.Text != "" {
		blocks = append(blocks, section(slackEscape(clip(e.Text, slackSection/5)))) // each character may become five
	}
	var fields []slackText
	for _, f := range e.facts() {
		fields = append(fields, mrkdwn("*"+f[0]+"*\n"+slackEscape(clip(f[1], slackField/5-len(f[0])))))
	}
	for list := range slices.Chunk(fields, slackFields) {
		blocks = append(blocks, slackBlock{Type: "section", Fields: list})
	}
	if len(e.Next) > 0 {
		blocks = append(blocks, section("*What to do*\n```"+slackEscape(clip(strings.Join(e.Next, "\n"), slackSection/6))+"```"))
	}
	if e.Link != "" {
		blocks = append(blocks, slackBlock{Type: "actions", Elements: []any{slackButton{"button", slackText{"plain_text", "Open the console"}, e.Link}}})
	}
	blocks = append(blocks, slackBlock{Type: "context", Elements: []any{mrkdwn(slackEscape(clip(e.Source+", "+e.Time.UTC().Format(time.RFC3339)+", "+e.ID, slackField/5)))}})
	return slackPayload{Text: title, Attachments: []slackAttachment{{Color: e.color(), Fallback: title, Blocks: blocks}}}
}

// clip shortens text to n characters.
func clip(text string, n int) string {
	if r := []rune(text); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return text
}
