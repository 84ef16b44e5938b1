package wire

import "time"

// Failback asks for a failover to the site where a group was first protected.
type Failback struct {
	Kind  string `json:"kind,omitempty" enum:"planned,unplanned" default:"planned"`
	Point string `json:"point,omitempty" doc:"latest, an ID or a time; by default latest. A planned failback takes what its final cycle makes"`
	Plan  string `json:"plan,omitempty" doc:"The recovery plan to carry out"`
}

// Resolve says which site is kept after a split brain.
type Resolve struct {
	Keep string `json:"keep" minLength:"1" doc:"A site's name: the group's, or the former one whose machines came back"`
}

// FailoverPreview asks what a failover would do.
type FailoverPreview struct {
	Failover
	Failback bool `json:"failback,omitempty" doc:"Refuse it unless it leads to where the group was first protected"`
	Calls    bool `json:"calls,omitempty" doc:"Also say which requests the providers of sites would get"`
}

// Preview says what a failover would do now. Nothing was changed for it.
type Preview struct {
	Kind       string           `json:"kind" doc:"Of run"`
	Group      string           `json:"group"`
	Source     string           `json:"source"`
	Target     string           `json:"target"`
	Direction  string           `json:"direction" enum:"failover,failback"`
	Point      PreviewPoint     `json:"point" doc:"What it would take; of a planned failover, the newest before its last cycle"`
	Lose       float64          `json:"loseSeconds" doc:"What would be lost"`
	Machines   []PreviewMachine `json:"machines"`
	Steps      []string         `json:"steps" doc:"What happens, in order"`
	RTOSeconds *float64         `json:"rtoSeconds,omitempty" doc:"Estimate; left out when nothing was measured yet"`
	RTOFrom    string           `json:"rtoFrom,omitempty" doc:"What the estimate was measured by"`
	Refused    string           `json:"refused,omitempty" doc:"Why it would be refused now"`
	Hint       string           `json:"hint,omitempty"`
	Warnings   []string         `json:"warnings"`
	Checks     []Check          `json:"checks" doc:"Of machines that would start on other hardware than theirs"`
	Calls      []SiteCall       `json:"calls,omitempty" doc:"Requests that the providers of sites would get, of those that tell"`
}

// PreviewPoint is the recovery point of a preview.
type PreviewPoint struct {
	ID   string    `json:"id"`
	Time time.Time `json:"time"`
	Kind string    `json:"kind"`
}

// PreviewMachine is what would become of one machine.
type PreviewMachine struct {
	Name       string   `json:"name"`
	As         string   `json:"as" doc:"Its name at the target"`
	Lose       float64  `json:"loseSeconds"`
	Original   bool     `json:"original" doc:"The machine that is held there is used again; otherwise one is created"`
	Base       string   `json:"base,omitempty" doc:"The recovery point that its disks are at; left out when everything has to be compared"`
	Changed    int64    `json:"changed,omitempty" doc:"Bytes of its disks to look at"`
	RTOSeconds *float64 `json:"rtoSeconds,omitempty"`
}

// ReprotectPreview is what a reprotection would copy, as measured. Nothing was changed for it.
type ReprotectPreview struct {
	Group      string          `json:"group"`
	Source     string          `json:"source" doc:"Where the group runs"`
	Target     string          `json:"target" doc:"Where it could go back to"`
	Point      string          `json:"point,omitempty" doc:"The newest, with which both sides were compared"`
	Disks      []ReprotectDisk `json:"disks"`
	ETASeconds float64         `json:"etaSeconds" doc:"About as long as comparing took"`
	Refused    string          `json:"refused,omitempty" doc:"Why it would be refused now"`
	Hint       string          `json:"hint,omitempty"`
	Warnings   []string        `json:"warnings"`
}

// ReprotectDisk is one disk of a preview.
type ReprotectDisk struct {
	Machine    string  `json:"machine"`
	Disk       string  `json:"disk"`
	Size       int64   `json:"size"`
	Send       int64   `json:"send" doc:"Bytes that differ from the newest recovery point where the group runs"`
	Original   bool    `json:"original" doc:"The disk is still at the former site"`
	Write      int64   `json:"write" doc:"Bytes to write there, at most"`
	Alone      int64   `json:"alone" doc:"Bytes there that are in no recovery point: they are written over, and kept until the failback is committed"`
	Sampled    bool    `json:"sampled,omitempty" doc:"The numbers are estimates from a sample"`
	ETASeconds float64 `json:"etaSeconds"`
}
