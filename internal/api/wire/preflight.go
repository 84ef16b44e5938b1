package wire

// Check is a finding about a machine that is to start elsewhere.
type Check struct {
	Machine string `json:"machine"`
	Name    string `json:"name"`
	State   string `json:"state" enum:"ok,warning,failure,unknown" doc:"unknown is what cannot be seen from outside"`
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty" doc:"What to do in the machine, or how to see by hand what is unknown"`
}

// Preflight says whether machines would start at a site. Nothing was changed for it.
type Preflight struct {
	Group  string  `json:"group,omitempty"`
	Point  string  `json:"point,omitempty" doc:"The recovery point whose disks were looked into"`
	Target string  `json:"target"`
	State  string  `json:"state" enum:"ok,warning,failure,unknown" doc:"The one that matters most"`
	Checks []Check `json:"checks"`
}

// SiteCall is a request that the provider of a site would get.
type SiteCall struct {
	Site   string `json:"site"`
	Method string `json:"method"`
	Path   string `json:"path"`
	Body   string `json:"body,omitempty" doc:"JSON, or what is sent, for people"`
}

// ClonePreview says what a clone would do now. Nothing was changed for it.
type ClonePreview struct {
	As        string     `json:"as" doc:"Name of the copy"`
	CPUs      int        `json:"cpus,omitempty" doc:"Before the site places it"`
	MemoryMiB int        `json:"memoryMiB,omitempty"`
	From      string     `json:"from" doc:"Site, or group of the recovery point"`
	To        string     `json:"to"`
	Point     string     `json:"point,omitempty" doc:"Recovery point that is copied; of a machine that is replicated a newer one would be made"`
	Direct    bool       `json:"direct" doc:"The cloud copies the disks itself"`
	Bytes     int64      `json:"bytes" doc:"Of disk"`
	Checks    []Check    `json:"checks" doc:"Of a machine that would start on other hardware than its own"`
	Calls     []SiteCall `json:"calls" doc:"Requests to providers that tell"`
	Warnings  []string   `json:"warnings"`
}
