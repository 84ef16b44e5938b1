package site

import (
	"context"
	"time"
)

// A Watcher knows of long operations of its site that Understudy did not begin, such as updates of the platform.
type Watcher interface {
	// Operations lists what the site does, or did, and what it complains of. Each has an ID that stays the same.
	Operations(ctx context.Context) ([]Operation, error)
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
