package site

import (
	"cmp"
	"context"
	"strings"
	"time"
)

// A Watcher knows of long operations of its site that Understudy did not begin, such as updates of the platform.
type Watcher interface {
	// Operations lists what the site does, or did, and what it complains of. Each has an ID that stays the same. known
	// are the operations that the caller knows of by earlier answers: what another way tells of is one of them when it can be.
	//
	// An error comes with an answer when the usual way failed and another one told something: what is listed then is
	// how it is, and nothing is known of the rest.
	Operations(ctx context.Context, known []Operation) (Answer, error)
}

// An Answer of a Watcher.
type Answer struct {
	Way        string // that told; empty when none did
	Operations []Operation
}

// An Operation of a site, or a complaint of it.
type Operation struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Version string  `json:"version,omitempty"`
	State   string  `json:"state"`   // as the site calls it
	Outcome Outcome `json:"outcome"` // what it means

	Started  time.Time     `json:"started,omitzero"`
	Duration time.Duration `json:"duration,omitempty"`
	Step     string        `json:"step,omitempty"`    // that runs or failed, with those that it is part of: A > B > C
	Message  string        `json:"message,omitempty"` // of the step that failed, or what to do
	Steps    []Step        `json:"steps,omitempty"`   // outermost ones

	Formerly string `json:"-"`                 // ID that it was known by until now
	Summary  bool   `json:"summary,omitempty"` // of others that are listed: that it changes is no news, since they do
}

// A Step of an operation.
type Step struct {
	Index       string    `json:"index,omitempty"` // where the site numbers them
	Name        string    `json:"name"`
	Description string    `json:"description,omitempty"`
	Status      string    `json:"status"` // as the site calls it
	Started     time.Time `json:"started,omitzero"`
	Ended       time.Time `json:"ended,omitzero"`
	Message     string    `json:"message,omitempty"` // what went wrong
	Steps       []Step    `json:"steps,omitempty"`
}

// FindStep returns the path of the deepest step of a status, the first of them, and its message.
func FindStep(steps []Step, status string) (path, message string) {
	for _, s := range steps {
		if p, m := FindStep(s.Steps, status); p != "" {
			if s.Name != "" {
				p = s.Name + " > " + p
			}
			return p, m
		}
		if strings.EqualFold(s.Status, status) {
			// Where there is no message of its own, the description says what is wrong.
			return s.Name, strings.TrimSpace(cmp.Or(s.Message, s.Description))
		}
	}
	return "", ""
}

// Outcome is how an operation stands.
type Outcome string

// Outcomes.
const (
	OutcomeWaiting   Outcome = "waiting" // nobody began it
	OutcomeRunning   Outcome = "running"
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeFailed    Outcome = "failed"
	OutcomeAttention Outcome = "attention" // the site asks for a person
	OutcomeResolved  Outcome = "resolved"  // a complaint that is no longer one
)
