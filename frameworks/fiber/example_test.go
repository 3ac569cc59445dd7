package samesidfiber_test

import (
	"fmt"
	"log"

	"github.com/gofiber/fiber/v3"
	"github.com/gofiber/fiber/v3/middleware/recover"

	"github.com/samesid/samesid/adapter"
	"github.com/samesid/samesid/frameworks/fiber"
)

func Example() {
	sessions, err := adapter.New(adapter.Options{Secrets: []string{"0123456789abcdef0123456789abcdef"}})
	if err != nil {
		log.Fatal(err)
	}
	app := fiber.New()
	app.Use(recover.New(), samesidfiber.Sessions(sessions))
	app.Get("/", func(c fiber.Ctx) error {
		n := sessions.GetInt(c, "visits") + 1
		sessions.Put(c, "visits", n)
		return c.SendString(fmt.Sprint("visit ", n))
	})
	// Output:
}
