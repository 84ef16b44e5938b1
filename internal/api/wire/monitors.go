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
	Looked     *time.Time  `json:"looked,omitempty" doc:"When the site last answered by its usual way"`
	Way        string      `json:"way,omitempty" doc:"Who told at the last look, such as the administrator's API or a privileged endpoint"`
	Failures   int         `json:"failures,omitempty" doc:"Looks in a row that failed"`
	Problem    string      `json:"problem,omitempty"`
	Operations []Operation `json:"operations,omitempty"`
}

// Look is what a look at a site found.
type Look struct {
	Way        string      `json:"way" doc:"Who told"`
	Problem    string      `json:"problem,omitempty" doc:"Why the usual way did not: nothing is known of operations that are not listed"`
	Operations []Operation `json:"operations"`
}

// Operation is a long operation of a site.
type Operation struct {
	ID              string          `json:"id"`
	Title           string          `json:"title"`
	Version         string          `json:"version,omitempty"`
	State           string          `json:"state" doc:"As the site calls it"`
	Outcome         string          `json:"outcome" enum:"waiting,running,succeeded,failed,attention,resolved"`
	Started         *time.Time      `json:"started,omitempty"`
	DurationSeconds float64         `json:"durationSeconds,omitempty"`
	Step            string          `json:"step,omitempty" doc:"That runs or failed, with those that it is part of"`
	Message         string          `json:"message,omitempty"`
	Summary         bool            `json:"summary,omitempty" doc:"It sums up others in the list: not to be counted beside them"`
	Steps           []OperationStep `json:"steps,omitempty" doc:"Left out where monitors are listed; kept for what runs and the newest that ended"`
}

// OperationStep is a step of a long operation.
type OperationStep struct {
	Index       string          `json:"index,omitempty" doc:"Where the site numbers its steps"`
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Status      string          `json:"status" doc:"As the site calls it"`
	Started     *time.Time      `json:"started,omitempty"`
	Ended       *time.Time      `json:"ended,omitempty"`
	Message     string          `json:"message,omitempty" doc:"What went wrong"`
	Steps       []OperationStep `json:"steps,omitempty"`
}
