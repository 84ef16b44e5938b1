package wire

import "time"

// Plan is a recovery plan as it is now.
type Plan struct {
	Name              string     `json:"name"`
	Group             string     `json:"group"`
	Version           int        `json:"version" doc:"Rises when the meaning of the plan changes"`
	Updated           time.Time  `json:"updated"`
	NeedsVerification bool       `json:"needsVerification" doc:"No rehearsal of this version was completed and cleaned up"`
	VerifiedVersion   int        `json:"verifiedVersion,omitempty" doc:"The newest version that a rehearsal proved"`
	VerifiedAt        *time.Time `json:"verifiedAt,omitempty"`
	VerifiedRun       string     `json:"verifiedRun,omitempty"`
	Changed           bool       `json:"changed,omitempty" doc:"This request made a new version"`
	Warnings          []string   `json:"warnings,omitempty" doc:"What a run of it would stumble over now"`
}

// PlanDetail is a version of a plan with what it says.
type PlanDetail struct {
	Plan
	ShownVersion int    `json:"shownVersion"`
	By           string `json:"by,omitempty" doc:"Who applied that version"`
	Text         string `json:"text" doc:"The plan as it was written, in YAML"`
	Outline      string `json:"outline" doc:"What is done, in order"`
	Mermaid      string `json:"mermaid" doc:"The same as a Mermaid flow chart"`
	Dot          string `json:"dot" doc:"The same in the language of Graphviz"`

	Blocks []PlanBlock `json:"blocks" doc:"The same as boxes to draw, in the order in which they are carried out"`
}

// PlanBlock is a box of a drawn plan.
type PlanBlock struct {
	Kind     string       `json:"kind" enum:"before,stage,after"`
	Stage    string       `json:"stage,omitempty" doc:"The name of a stage"`
	Machines []string     `json:"machines"`
	Before   []PlanAction `json:"before" doc:"Before the machines start"`
	After    []PlanAction `json:"after" doc:"When they are healthy"`
}

// PlanAction is an action of a drawn plan.
type PlanAction struct {
	Name       string `json:"name"`
	Kind       string `json:"kind" enum:"script,guest,http,wait,approval,extensions,probe"`
	Summary    string `json:"summary" doc:"What it does"`
	Conditions string `json:"conditions,omitempty" doc:"When it is done, and what its failure means, where that is not as usual"`
}

// PlanText is a plan to check or to save.
type PlanText struct {
	File string `json:"file,omitempty" maxLength:"1024" doc:"Its name in messages"`
	Text string `json:"text" minLength:"1" maxLength:"1048576" doc:"The plan in YAML"`
}

// PlanCheck is what was found about a plan.
type PlanCheck struct {
	Name     string        `json:"name,omitempty"`
	Group    string        `json:"group,omitempty"`
	Problems []PlanProblem `json:"problems" doc:"Empty when the plan can be applied"`
	Warnings []string      `json:"warnings" doc:"What a run of it would stumble over now"`
	Blocks   []PlanBlock   `json:"blocks" doc:"The plan as boxes to draw, as far as it could be read"`
}

// PlanProblem is something that is wrong with a plan.
type PlanProblem struct {
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Field  string `json:"field,omitempty" example:"stages[0].machines"`
	What   string `json:"what"`
	Hint   string `json:"hint,omitempty"`
	Text   string `json:"text" doc:"All of it as file:line:column: field: what"`
}

// PlanVersion is a version of a plan.
type PlanVersion struct {
	Version int       `json:"version"`
	Created time.Time `json:"created"`
	By      string    `json:"by,omitempty"`
}

// PlanHistory is what became of a plan.
type PlanHistory struct {
	Versions []PlanVersion `json:"versions" doc:"The newest first"`
	Runs     []PlanRun     `json:"runs" doc:"Runs that carried it out, the newest first"`
}

// PlanRun is a run of a plan.
type PlanRun struct {
	Run
	PlanVersion int `json:"planVersion"`
}

// RunPlan asks for a run of a plan.
type RunPlan struct {
	Kind  string `json:"kind" enum:"test,planned,unplanned"`
	Point string `json:"point,omitempty" doc:"latest, an ID or a time; by default latest"`
}

// Question is what a run asks people.
type Question struct {
	Run      string     `json:"run"`
	Action   string     `json:"action" doc:"The action of the plan that it is about"`
	Message  string     `json:"message"`
	Answers  []string   `json:"answers" enum:"approve,reject,retry,skip,confirm" doc:"confirm: POST /v1/runs/{name}/confirm"`
	Asked    time.Time  `json:"asked"`
	Until    *time.Time `json:"until,omitempty" doc:"When the time for an answer is over"`
	Answered *time.Time `json:"answered,omitempty"`
	Answer   string     `json:"answer,omitempty"`
	By       string     `json:"by,omitempty"`
	Note     string     `json:"note,omitempty"`
	Ways     string     `json:"ways" doc:"The commands that answer it"`
}

// Answer answers what a run asks.
type Answer struct {
	Answer string `json:"answer" enum:"approve,reject,retry,skip"`
	Action string `json:"action,omitempty" doc:"The action that is meant: when the run asks about another by now, that is a conflict"`
	Note   string `json:"note,omitempty" maxLength:"4096" doc:"Why; needed to skip"`
}
