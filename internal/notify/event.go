// Package notify tells people and other programs what happened: by webhook, mail, Slack and Teams. It says which channels
// an event goes to, and sends it once. What is to be told is kept by the caller until it was taken, so that nothing is
// lost by a restart; something may arrive twice, with the same ID.
package notify

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// Kind says what an event is to its reader.
type Kind string

// Kinds of event.
const (
	Information Kind = "information"
	Success     Kind = "success"
	Failure     Kind = "failure"
	Problem     Kind = "problem" // it lasts, and is repeated until it is over
	Resolved    Kind = "resolved"
)

// A Topic is what an event is about.
type Topic string

// Topics.
const (
	TopicFailover    Topic = "failover"    // failovers, planned ones, commits, reprotections and the end of a split brain
	TopicApproval    Topic = "approval"    // a run waits for a person, or a person for another
	TopicLag         Topic = "lag"         // more would be lost than the objective allows
	TopicReplication Topic = "replication" // cycles fail
	TopicDrill       Topic = "drill"
	TopicSplitBrain  Topic = "split-brain"
	TopicVault       Topic = "vault"
	TopicCopy        Topic = "copy"    // clones and moves
	TopicTest        Topic = "test"    // test failovers and clean-ups
	TopicMonitor     Topic = "monitor" // long operations of sites
)

// Topics are all topics.
func Topics() []Topic {
	return []Topic{TopicFailover, TopicApproval, TopicLag, TopicReplication, TopicDrill, TopicSplitBrain, TopicVault, TopicCopy, TopicTest, TopicMonitor}
}

// Severity says how soon somebody should look.
type Severity string

// Severities: for the record, in working hours, now.
const (
	Info     Severity = "info"
	Warning  Severity = "warning"
	Critical Severity = "critical"
)

// Severities are all severities, the least first.
func Severities() []Severity { return []Severity{Info, Warning, Critical} }

// Compare compares severities; one that is not known is the least.
func (s Severity) Compare(t Severity) int {
	return cmp.Compare(slices.Index(Severities(), s), slices.Index(Severities(), t))
}

// An Event is something to tell. Its JSON is what webhooks get.
type Event struct {
	ID     string    `json:"id"` // the same however often it is sent
	Time   time.Time `json:"time"`
	Source string    `json:"source"` // such as: group shop
	Kind   Kind      `json:"kind"`

	Topic    Topic    `json:"topic,omitempty"`
	Severity Severity `json:"severity,omitempty"`
	// Key is the same for a problem, its repetitions and its end.
	Key string `json:"key,omitempty"`
	// Ends is the ID of the event that told of the problem first, in what repeats or ends it.
	Ends   string    `json:"ends,omitempty"`
	Since  time.Time `json:"since,omitzero"`   // when the problem began
	Repeat int       `json:"repeat,omitempty"` // how often it was told before

	Group string   `json:"group,omitempty"`
	Sites []string `json:"sites,omitempty"`
	Vault string   `json:"vault,omitempty"`
	Run   string   `json:"run,omitempty"`

	Subject string   `json:"subject"`
	Text    string   `json:"text,omitempty"`
	Loss    string   `json:"loss,omitempty"` // what would be lost, or was
	Next    []string `json:"next,omitempty"` // what to do: commands
	Link    string   `json:"link,omitempty"` // page of the console; a path until it is sent
}

// linked returns the event with the address of its page, or without when the console's is not known.
func (e Event) linked(console string) Event {
	if console == "" || e.Link == "" {
		e.Link = ""
		return e
	}
	e.Link = strings.TrimRight(console, "/") + e.Link
	return e
}

// Title is the event in one line: how bad, and what.
func (e Event) Title() string {
	return "[" + e.mark() + "] " + strings.Join(strings.Fields(e.Subject), " ")
}

// mark is the one word that says what to expect.
func (e Event) mark() string {
	switch {
	case e.Kind == Resolved:
		return "resolved"
	case e.Kind == Success:
		return "success"
	case e.Repeat > 0:
		return "still " + string(e.Severity)
	case e.Severity == "" || e.Severity == Info:
		return string(e.Kind)
	}
	return string(e.Severity)
}

// color is that of an event, as RGB: how bad it is, and green for what is well again.
func (e Event) color() string {
	switch {
	case e.Kind == Resolved || e.Kind == Success:
		return "#2E7D32"
	case e.Severity == Critical:
		return "#C62828"
	case e.Severity == Warning:
		return "#EF6C00"
	}
	return "#1565C0"
}

// facts are what is known beside the text, as names and values.
func (e Event) facts() [][2]string {
	var list [][2]string
	for _, f := range [][2]string{{"Group", e.Group}, {"Would be lost", e.Loss}, {"Sites", strings.Join(e.Sites, ", ")}, {"Vault", e.Vault}, {"Run", e.Run}} {
		if f[1] != "" {
			list = append(list, f)
		}
	}
	if !e.Since.IsZero() {
		list = append(list, [2]string{"Since", e.Since.UTC().Format(time.RFC3339)})
	}
	return list
}
