curl --location  --request PUT 'https://{{your_url}}/api/2.0/production/sms/webhooks/{{webhook_id}}' \
--data '{
    "webhook": {
        "event_types": [
            "reply",
            "bounce"
        ],
        "status": "disabled"
    }
}'
