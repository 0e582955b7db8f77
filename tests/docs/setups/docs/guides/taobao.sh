# Rows with the columns of the published files, invented: 40 users, 8 days from 2017-05-06, 30 ads in 5 categories.
mkdir raw
python - <<'END'
import random

draw = random.Random(1)
first = 1494000000
with open("raw/raw_sample.csv", "w") as file:
    file.write("user,time_stamp,adgroup_id,pid,nonclk,clk\n")
    for user in range(1, 41):
        for _ in range(40):
            ad = draw.randrange(30)
            clicked = int(draw.random() < (0.6 if ad % 5 == user % 5 else 0.1))
            second = first + draw.randrange(8 * 86_400)
            file.write(f"{user},{second},{ad + 1000},430548_100{draw.choice((7, 8))},{1 - clicked},{clicked}\n")
with open("raw/ad_feature.csv", "w") as file:
    file.write("adgroup_id,cate_id,campaign_id,customer,brand,price\n")
    for ad in range(30):
        brand = draw.choice(("NULL", "95471", "87331"))
        file.write(f"{ad + 1000},{6000 + ad % 5},{ad + 83000},{ad % 7 + 1},{brand},{draw.uniform(5, 500):.1f}\n")
with open("raw/user_profile.csv", "w") as file:
    file.write(
        "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,"
        "new_user_class_level \n"
    )
    for user in range(1, 41):
        level = draw.choice(("", "1", "2", "3"))
        file.write(f"{user},{user % 9},{user % 6},{user % 2 + 1},{user % 5 + 1},{level},3,0,{draw.choice(('', '2', '4'))}\n")
with open("raw/behavior_log.csv", "w") as file:
    file.write("user,time_stamp,btag,cate,brand\n")
    for _ in range(2000):
        user = draw.randrange(1, 41)
        brand, tag = draw.choice((95471, 87331)), draw.choice(("pv", "cart", "fav", "buy"))
        second = first + draw.randrange(-22 * 86_400, 0)
        file.write(f"{user},{second},{tag},{6000 + user % 5},{brand}\n")
END
