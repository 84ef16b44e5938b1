package wire

import "time"

// Event is something that happened, as it is recorded.
type Event struct {
	Sequence int64     `json:"sequence" doc:"Rises, and is not used twice; the id of the event in a stream"`
	Time     time.Time `json:"time"`
	Kind     string    `json:"kind" example:"run.started"`
	Group    string    `json:"group,omitempty"`
	Run      string    `json:"run,omitempty"`
	Message  string    `json:"message"`
}

// StatusChange says that the status of groups changed, so that it is to be fetched anew.
type StatusChange struct {
	Groups []string `json:"groups" doc:"By name; none means many: fetch all"`
}

// RunProgress is how far a run is.
type RunProgress struct {
	Run      string     `json:"run" doc:"ID"`
	Group    string     `json:"group,omitempty"`
	Kind     string     `json:"kind"`
	State    string     `json:"state"`
	Message  string     `json:"message,omitempty"`
	Step     string     `json:"step,omitempty" doc:"That runs: its name"`
	Title    string     `json:"title,omitempty" doc:"That runs: its title"`
	Done     int64      `json:"done,omitempty" doc:"Bytes of the step"`
	Total    int64      `json:"total,omitempty"`
	Rate     int64      `json:"rate,omitempty" doc:"Bytes per second"`
	ETA      string     `json:"eta,omitempty"`
	Started  *time.Time `json:"started,omitempty" doc:"Of the run"`
	Attempts int        `json:"attempts,omitempty" doc:"Of the step"`
}

// Overview is how everything is, in numbers. What was not heard of for a minute counts as unknown.
type Overview struct {
	At             time.Time            `json:"at" doc:"When this was so"`
	Groups         int                  `json:"groups"`
	Health         HealthCounts         `json:"health"`
	Replication    ReplicationCounts    `json:"replication"`
	Recoverability RecoverabilityCounts `json:"recoverability"`
	WorstLag       []GroupLag           `json:"worstLag" doc:"Ten groups of which the most would be lost now, the worst first"`
	Critical       []CriticalGroup      `json:"critical" doc:"At most ten groups that are critical and not in splitBrains, those that would lose most first"`
	Undecided      []UndecidedGroup     `json:"undecided" doc:"At most ten groups, neither critical nor in splitBrains, of which a person has to decide what comes next"`
	UndecidedCount int                  `json:"undecidedCount" doc:"How many there are"`
	Active         []Run                `json:"activeRuns" doc:"Runs that have not ended and wait for nobody"`
	Waiting        []Run                `json:"waitingRuns" doc:"Runs that wait for a person; the message is what they ask"`
	DrillsOverdue  []OverdueDrill       `json:"drillsOverdue"`
	SplitBrains    []SplitBrain         `json:"splitBrains"`
	Vaults         []VaultFill          `json:"vaults"`
	Links          []VaultLink          `json:"links" doc:"Ways of recovery points: from a site through a vault to another"`
	Monitors       []Monitor            `json:"monitorsInAlarm"`
	StaleSeconds   float64              `json:"staleSeconds" doc:"Age from which what is known of a group counts as unknown"`
}

// HealthCounts are numbers of groups by health.
type HealthCounts struct {
	Healthy  int `json:"healthy"`
	Warning  int `json:"warning"`
	Critical int `json:"critical"`
	Unknown  int `json:"unknown"`
}

// ReplicationCounts are numbers of groups by whether recovery points are made as they should be.
type ReplicationCounts struct {
	Current int `json:"current"`
	Late    int `json:"late"`
	Seeding int `json:"seeding"`
	Paused  int `json:"paused"`
	Failing int `json:"failing"`
	Fenced  int `json:"fenced"`
	Off     int `json:"off"`
	Unknown int `json:"unknown"`
}

// RecoverabilityCounts are numbers of groups by whether they can be recovered.
type RecoverabilityCounts struct {
	Proven         int `json:"proven"`
	ProvenStale    int `json:"provenStale"`
	NeverProven    int `json:"neverProven"`
	NotRecoverable int `json:"notRecoverable"`
}

// A CriticalGroup is a group that wants a person now.
type CriticalGroup struct {
	Group       string   `json:"group"`
	Reason      string   `json:"reason" doc:"Why it is critical"`
	Hint        string   `json:"hint,omitempty"`
	Replicating string   `json:"replicating"`
	LoseSeconds *float64 `json:"loseSeconds,omitempty" doc:"What a failover would lose now; absent when there is nothing to fail over to"`
}

// An UndecidedGroup is a group that stays as it is until a person says what comes next.
type UndecidedGroup struct {
	Group string `json:"group"`
	State string `json:"state" enum:"failed-over,committed,test-running,test-failed" doc:"Failed over: to be committed; committed: to be reprotected; a test: to be cleaned up"`
}

// GroupLag is what would be lost of a group now.
type GroupLag struct {
	Group       string  `json:"group"`
	LoseSeconds float64 `json:"loseSeconds"`
	RPOSeconds  float64 `json:"rpoSeconds"`
	Health      string  `json:"health" enum:"critical,unknown,warning,healthy"`
}

// OverdueDrill is a group whose last proof is too old.
type OverdueDrill struct {
	Group          string     `json:"group"`
	OverdueSeconds float64    `json:"overdueSeconds" doc:"Age of the proof, or of the schedule when there is none"`
	LimitSeconds   float64    `json:"limitSeconds"`
	ProvenAt       *time.Time `json:"provenAt,omitempty"`
}

// SplitBrain is a group of which a former site came back.
type SplitBrain struct {
	Group    string   `json:"group"`
	Machines []string `json:"machines" doc:"Seen running where they must not, as site/machine"`
}

// VaultLink is a way of recovery points, and how well those get there that take it.
type VaultLink struct {
	Site        string   `json:"site" doc:"Where machines run"`
	Vault       string   `json:"vault"`
	Target      string   `json:"target" doc:"Where they are recovered"`
	Groups      int      `json:"groups"`
	Health      string   `json:"health" enum:"critical,unknown,warning,healthy" doc:"Of the worst of them"`
	LoseSeconds *float64 `json:"loseSeconds,omitempty" doc:"The most that would be lost of a group now"`
}

// VaultFill is how full a vault is.
type VaultFill struct {
	Name   string `json:"name"`
	URL    string `json:"url"`
	Groups int    `json:"groups" doc:"That use it"`

	Bytes     *int64     `json:"bytes,omitempty" doc:"That it holds; left out when it was not added up yet"`
	FreeBytes *int64     `json:"freeBytes,omitempty" doc:"What it can still hold; left out where that is not known"`
	At        *time.Time `json:"at,omitempty" doc:"When this was so"`
	Problem   string     `json:"problem,omitempty" doc:"Why it could not be added up the last time"`
}

// History is what the replication cycles of a group did over time.
type History struct {
	Group      string          `json:"group"`
	From       time.Time       `json:"from"`
	To         time.Time       `json:"to"`
	RPOSeconds float64         `json:"rpoSeconds" doc:"The objective now"`
	Samples    []HistorySample `json:"samples" doc:"Buckets of equal length in order; those without a cycle are left out"`
}

// HistorySample is a bucket of a history: times are the longest in it, bytes are sums.
type HistorySample struct {
	Time         time.Time `json:"time" doc:"Where the bucket begins"`
	LagSeconds   float64   `json:"lagSeconds" doc:"What would have been lost at the worst moment"`
	ChangedBytes int64     `json:"changedBytes"`
	StoredBytes  int64     `json:"storedBytes"`
	ReadBytes    int64     `json:"readBytes"`
	CycleSeconds float64   `json:"cycleSeconds"`
	Cycles       int       `json:"cycles"`
	Failures     int       `json:"failures"`
}

// MachineRow is a machine of any site, and the group that it is in.
type MachineRow struct {
	Name      string     `json:"name"`
	Site      string     `json:"site"`
	Provider  string     `json:"provider"`
	Power     string     `json:"power" enum:"on,off,paused,unknown"`
	CPUs      int        `json:"cpus,omitempty"`
	MemoryMiB int        `json:"memoryMiB,omitempty"`
	Disks     int        `json:"disks"`
	DiskBytes int64      `json:"diskBytes"`
	Owner     string     `json:"owner,omitempty" doc:"The run that made it"`
	Observed  *time.Time `json:"observed,omitempty" doc:"When its site last told of it; left out when it never did"`
	Problem   string     `json:"problem,omitempty" doc:"Why its site does not answer"`

	Group          string   `json:"group,omitempty" doc:"Left out when it is in none"`
	State          string   `json:"state,omitempty" doc:"Of the group; this and what follows"`
	Health         string   `json:"health,omitempty" enum:"critical,unknown,warning,healthy"`
	Replicating    string   `json:"replicating,omitempty" enum:"fenced,failing,late,unknown,paused,seeding,off,current"`
	Recoverability string   `json:"recoverability,omitempty" enum:"not-recoverable,never-proven,proven-stale,proven"`
	LoseSeconds    *float64 `json:"loseSeconds,omitempty"`
}
