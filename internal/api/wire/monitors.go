package wire

import "time"

// MonitorRequest asks to watch the long operations of a site.
type MonitorRequest struct {
	Site     string   `json:"site" minLength:"1"`
	Every    Duration `json:"every,omitempty" example:"1m" doc:"Time between two looks; by default 1m"`
	Patience int      `json:"patience,omitempty" minimum:"0" maximum:"1000" doc:"Looks in a row that may fail before that is told; by default 3"`
}

// Monitor is what a monitor knows.
type Monitor struct {
	Name       string      `json:"name"`
	Site       string      `json:"site"`
	Every      Duration    `json:"every"`
	Patience   int         `json:"patience,omitempty"`
	Looked     *time.Time  `json:"looked,omitempty" doc:"When the site last answered"`
	Failures   int         `json:"failures,omitempty" doc:"Looks in a row that failed"`
	Problem    string      `json:"problem,omitempty"`
	Operations []Operation `json:"operations,omitempty"`
}

// Operation is a long operation of a site.
type Operation struct {
	ID              string     `json:"id"`
	Title           string     `json:"title"`
	Version         string     `json:"version,omitempty"`
	State           string     `json:"state" doc:"As the site calls it"`
	Outcome         string     `json:"outcome" enum:"waiting,running,succeeded,failed,attention,resolved"`
	Started         *time.Time `json:"started,omitempty"`
	DurationSeconds float64    `json:"durationSeconds,omitempty"`
	Step            string     `json:"step,omitempty" doc:"That runs or failed, with those that it is part of"`
	Message         string     `json:"message,omitempty"`
}
