// What Go tells of time: the wall clock in seconds, and whether a sleep of a fifth of a second was one.
package main

import (
	"fmt"
	"time"
)

func main() {
	began := time.Now()
	time.Sleep(200 * time.Millisecond)
	fmt.Println(began.Unix(), time.Since(began) >= 200*time.Millisecond)
}
